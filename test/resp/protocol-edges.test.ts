/** Every edge of the request protocol, with the exact bytes that Redis 7 answers. */
import { expect } from "chai";
import { Harness, request } from "./harness.js";

const PONG = "+PONG\r\n";
const echoed = (...words: string[]): string => request(...words);
const violation = (text: string): string => `-ERR Protocol error: ${text}\r\n`;

interface Edge {
  readonly title: string;
  readonly input: string;
  readonly output: string;
  readonly closes: boolean;
}

const STAYS: readonly Edge[] = [
  ["an empty line with CRLF is ignored", "\r\n", ""],
  ["an empty line with LF is ignored", "\n", ""],
  ["a line of blanks is ignored", "  \t \r\n", ""],
  ["an empty array is ignored", "*0\r\n", ""],
  ["a null array is ignored", "*-1\r\n", ""],
  ["an array of negative length is ignored", "*-10\r\n", ""],
  [
    "ignored requests do not end the pipeline around them",
    `*0\r\n${request("PING")}*-1\r\n${request("PING")}\r\nPING\r\n`,
    PONG.repeat(3),
  ],
  ["an inline request ends with CRLF", "PING\r\n", PONG],
  ["an inline request ends with LF alone", "PING\n", PONG],
  ["blanks around inline words are skipped", " \t PING \t a  \r\n", PONG],
  ["double quotes know escapes", '"a\\x41\\n\\r\\t\\b\\a\\\\\\"\\q" b\r\n', echoed('aA\n\r\t\b\x07\\"q', "b")],
  ["an incomplete hexadecimal escape stands for itself", '"\\x4" "\\xzz"\r\n', echoed("x4", "xzz")],
  ["single quotes know only the escaped single quote", "'a\\'b\\n' c\r\n", echoed("a'b\\n", "c")],
  ["a quote may open inside a word", 'a"b c"\r\n', echoed("ab c")],
  ["an empty quoted word is a word", '""\r\n', echoed("")],
  ["bytes above 127 pass through inline requests", "\xff\xe4\r\n", echoed("\xff\xe4")],
  [
    "70,000 bytes of inline request with their end in one read pass",
    `E ${"x".repeat(70_000)}\r\n`,
    echoed("E", "x".repeat(70_000)),
  ],
  [
    "inline requests and arrays mix",
    `PING\r\n${request("E", "1")}PING\n${request("PING")}`,
    PONG + echoed("E", "1") + PONG + PONG,
  ],
  [
    "the two bytes behind an argument are skipped unread",
    "*2\r\n$1\r\nExx$2\r\nabyy*1\r\n$4\r\nPINGzz",
    echoed("E", "ab") + PONG,
  ],
  ["the byte behind a header's CR is skipped unread", "*1\rx$4\rxPING\r\n", PONG],
  [
    "arguments may be empty and hold any bytes",
    request("E", "", "\r\n$1\r\n", "\0\xff"),
    echoed("E", "", "\r\n$1\r\n", "\0\xff"),
  ],
  ["the longest argument that is allowed waits for its bytes", "*1\r\n$536870912\r\nx", ""],
  ["the highest count that is allowed waits for its arguments", "*1048576\r\n", ""],
  ["a first argument without its line end waits", "*1\r\n", ""],
].map(([title, input, output]) => ({ title: title!, input: input!, output: output!, closes: false }));

const CLOSES: readonly Edge[] = [
  ["an opened quote that is not closed", 'E "a\r\n', violation("unbalanced quotes in request")],
  ["an opened single quote that is not closed", "E 'a\r\n", violation("unbalanced quotes in request")],
  ["text right behind a closing quote", 'PING "a"b\r\n', violation("unbalanced quotes in request")],
  ["text right behind a closing single quote", "PING 'a'b\r\n", violation("unbalanced quotes in request")],
  ["65,537 bytes without a line end", "x".repeat(65_537), violation("too big inline request")],
  ["a count that is no number", "*abc\r\n", violation("invalid multibulk length")],
  ["an empty count", "*\r\n", violation("invalid multibulk length")],
  ["a fractional count", "*1.5\r\n", violation("invalid multibulk length")],
  ["a count with a plus", "*+1\r\n", violation("invalid multibulk length")],
  ["a count with a leading zero", "*01\r\n", violation("invalid multibulk length")],
  ["a count of minus zero", "*-0\r\n", violation("invalid multibulk length")],
  ["a count with a blank", "* 1\r\n", violation("invalid multibulk length")],
  ["a count over 2^31 - 1", "*2147483648\r\n", violation("invalid multibulk length")],
  ["a count of 3,000,000,000", "*3000000000\r\n", violation("invalid multibulk length")],
  ["a count of twenty digits", "*99999999999999999999\r\n", violation("invalid multibulk length")],
  ["a count that ends with LF only", "*1\n$4\r\nPING\r\n", violation("invalid multibulk length")],
  ["a count line over 64 KB", `*${"1".repeat(65_537)}`, violation("too big mbulk count string")],
  ["an argument line over 64 KB", `*1\r\n$${"1".repeat(65_537)}`, violation("too big bulk count string")],
  ["an array whose argument is no bulk string", "*1\r\nfoo\r\n", violation("expected '$', got 'f'")],
  ["an array whose argument begins with CR", "*1\r\n\r\n", violation("expected '$', got ' '")],
  ["an array in an array", "*2\r\n$1\r\nE\r\n*1\r\n", violation("expected '$', got '*'")],
  ["an argument of length -1", "*1\r\n$-1\r\n", violation("invalid bulk length")],
  ["an argument of length -10", "*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$-10\r\n", violation("invalid bulk length")],
  ["an argument whose length is no number", "*1\r\n$blabla\r\n", violation("invalid bulk length")],
  ["an argument of 2,000,000,000 bytes", "*1\r\n$2000000000\r\n", violation("invalid bulk length")],
  ["an argument one byte over the limit", "*1\r\n$536870913\r\n", violation("invalid bulk length")],
  ["a request of a browser", "POST / HTTP/1.1\r\nHost: x\r\n\r\n", ""],
  ["a header of a browser", "Host: localhost\r\n", ""],
  ["a header of a browser in lower case", "host: localhost\r\n", ""],
  [
    "a bad request behind good ones",
    `${request("PING")}PING\r\n*x\r\n${request("PING")}`,
    PONG + PONG + violation("invalid multibulk length"),
  ],
  ["a bad argument behind good requests", `${request("PING")}*1\r\n:1\r\n`, PONG + violation("expected '$', got ':'")],
].map(([title, input, output]) => ({ title: title!, input: input!, output: output!, closes: true }));

const UNAUTHENTICATED: readonly Edge[] = [
  { title: "ten arguments of 16,384 bytes", input: `*10\r\n$16384\r\n`, output: "", closes: false },
  { title: "eleven arguments", input: "*11\r\n", output: violation("unauthenticated multibulk length"), closes: true },
  { title: "16,385 bytes", input: "*1\r\n$16385\r\n", output: violation("unauthenticated bulk length"), closes: true },
  {
    title: "eleven arguments right behind AUTH",
    input: request("AUTH") + request("E", ..."0123456789".split("")),
    output: `+OK\r\n${echoed("E", ..."0123456789".split(""))}`,
    closes: false,
  },
];

describe("request protocol", () => {
  for (const edge of STAYS) {
    it(`${edge.title}, and the connection stays`, async () => {
      const harness = await Harness.start();
      const { text, hasEnded } = await harness.exchange(edge.input);
      expect(text).to.equal(edge.output);
      expect(hasEnded).to.equal(false);
    });
  }

  for (const edge of CLOSES) {
    it(`${edge.title} closes the connection with Redis's words`, async () => {
      const harness = await Harness.start();
      const { text, hasEnded } = await harness.exchange(edge.input);
      expect(text).to.equal(edge.output);
      expect(hasEnded).to.equal(true);
    });
  }

  for (const edge of UNAUTHENTICATED) {
    it(`before authentication: ${edge.title} ${edge.closes ? "is refused" : "is accepted"}`, async () => {
      const harness = await Harness.start();
      harness.dispatcher.startsAuthenticated = false;
      const { text, hasEnded } = await harness.exchange(edge.input);
      expect(text).to.equal(edge.output);
      expect(hasEnded).to.equal(edge.closes);
    });
  }

  it("requests behind QUIT are not run, even in later reads", async () => {
    const harness = await Harness.start({ network: { cut: (length) => Math.min(length, 1_000) } });
    const { text, hasEnded } = await harness.exchange(request("QUIT") + request("E", "x".repeat(5_000)) + request("PING"));
    expect(text).to.equal("+OK\r\n");
    expect(hasEnded).to.equal(true);
    expect(harness.dispatcher.ran).to.deep.equal(["QUIT"]);
  });

  it("a half-closed client gets its answers, the late ones too, before the close", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1") + request("PING"));
    client.connection.end();
    await harness.clock.settle();
    expect(client.take()).to.equal("");
    expect(client.hasEnded).to.equal(false);
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(client.take()).to.equal(echoed("LATER", "1") + PONG);
    expect(client.isClosed).to.equal(true);
    expect(harness.server.clients).to.equal(0);
  });

  it("a half-closed client with half a request is closed", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send("*1\r\n$4\r\nPI");
    client.connection.end();
    await harness.clock.settle();
    expect(client.isClosed).to.equal(true);
  });

  it("a reset while answers are pending ends the session and drops them", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1"));
    await harness.clock.settle();
    client.connection.destroy();
    await harness.clock.settle();
    expect(harness.dispatcher.sessions.size).to.equal(0);
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(harness.server.clients).to.equal(0);
    expect(harness.network.openEnds).to.equal(0);
  });

  it("a command may kill its own connection, and nothing behind it runs", async () => {
    const harness = await Harness.start();
    const { text, hasEnded } = await harness.exchange(request("PING") + request("DIE") + request("PING"));
    expect(text).to.equal("");
    expect(hasEnded).to.equal(true);
    expect(harness.dispatcher.ran).to.deep.equal(["PING", "DIE"]);
    expect(harness.dispatcher.sessions.size).to.equal(0);
  });

  it("HELLO 3 changes the form of its own reply and of all later ones", async () => {
    const harness = await Harness.start();
    const { text } = await harness.exchange(
      request("NIL") + request("HELLO", "3") + request("NIL") + request("HELLO", "2") + request("NIL"),
    );
    expect(text).to.equal("$-1\r\n%0\r\n_\r\n*0\r\n$-1\r\n");
  });

  it("CLIENT REPLY OFF drops replies until ON, whose own is sent", async () => {
    const harness = await Harness.start();
    const off = [request("REPLY", "off"), request("PING"), request("SOON"), request("REPLY", "skip"), request("PING")].join("");
    const { text } = await harness.exchange(off + request("REPLY", "on") + request("E", "1"));
    expect(text).to.equal(`+OK\r\n${echoed("E", "1")}`);
  });

  it("CLIENT REPLY SKIP drops exactly the next reply, late ones too", async () => {
    const harness = await Harness.start();
    const skip = request("REPLY", "skip");
    const { text } = await harness.exchange(
      skip +
        request("E", "1") +
        request("E", "2") +
        skip +
        request("SOON", "3") +
        request("SOON", "4") +
        skip +
        request("REPLY", "on"),
    );
    expect(text).to.equal(`${echoed("E", "2") + echoed("SOON", "4")}+OK\r\n`);
  });

  it("a protocol error with replies off closes without a word", async () => {
    const harness = await Harness.start();
    const { text, hasEnded } = await harness.exchange(`${request("REPLY", "off")}*x\r\n`);
    expect(text).to.equal("");
    expect(hasEnded).to.equal(true);
  });

  it("a message to the own connection follows the reply of the command that sent it", async () => {
    const harness = await Harness.start();
    const { text } = await harness.exchange(request("PUSHSELF") + request("PING"));
    expect(text).to.equal("+OK\r\n+pushed\r\n+PONG\r\n");
  });
});
