import { expect } from "chai";
import { isSamePassword, protectedModeRefusal } from "../../lib/commands/authentication.js";
import { FakeNode } from "./fake-node.js";

const WRONG = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";

function helloReply(head: string, protocol: number, id: number): string {
  return (
    `${head}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:${protocol}\r\n$2\r\nid\r\n:${id}\r\n` +
    "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
  );
}

describe("HELLO", () => {
  it("describes the server as a flat array in RESP2 and as a map in RESP3, already in the protocol it chose", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("HELLO")).to.equal(helloReply("*14", 2, 1));
    expect(await client.send("HELLO 3")).to.equal(helloReply("%7", 3, 1));
    expect(await client.send("HELLO")).to.equal(helloReply("%7", 3, 1));
    expect(await client.send("HELLO 2")).to.equal(helloReply("*14", 2, 1));
  });

  it("refuses other versions and options that it does not know", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("HELLO 4")).to.equal("-NOPROTO unsupported protocol version\r\n");
    expect(await client.send("HELLO x")).to.equal("-ERR Protocol version is not an integer or out of range\r\n");
    expect(await client.send("HELLO 3 FOO")).to.equal("-ERR Syntax error in HELLO option 'FOO'\r\n");
    expect(await client.send("HELLO 3 AUTH a")).to.equal("-ERR Syntax error in HELLO option 'AUTH'\r\n");
    expect(client.session.protocol).to.equal(2);
  });

  it("authenticates and names in one step, or changes nothing", async () => {
    const node = new FakeNode();
    node.settings.requirePassword = "p";
    const client = node.connect();
    expect(await client.send("HELLO 3")).to.match(/^-NOAUTH HELLO must be called with the client already authenticated, /);
    expect(await client.send("HELLO 3 AUTH default wrong SETNAME x")).to.equal(WRONG);
    expect(client.session.protocol).to.equal(2);
    expect(client.session.name).to.equal("");
    expect(await client.send("HELLO 3 AUTH default p SETNAME x")).to.equal(helloReply("%7", 3, 1));
    expect(await client.send("CLIENT GETNAME")).to.equal("$1\r\nx\r\n");
  });

  it("refuses a name that would break a line of CLIENT LIST", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("HELLO", "2", "SETNAME", "a b")).to.equal(
      "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
    );
  });

  it("admits the default user with any password where none is required", async () => {
    expect(await new FakeNode().connect().send("HELLO 3 AUTH default x")).to.equal(helloReply("%7", 3, 1));
  });
});

describe("AUTH", () => {
  it("says that there is no password, or which pair is wrong", async () => {
    const node = new FakeNode();
    const open = node.connect();
    expect(await open.send("AUTH x")).to.equal(
      "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n",
    );
    expect(await open.send("AUTH default x")).to.equal("+OK\r\n");
    expect(await open.send("AUTH foo x")).to.equal(WRONG);
    expect(await open.send("AUTH a b c")).to.equal("-ERR syntax error\r\n");
    node.settings.requirePassword = "right";
    const client = node.connect();
    expect(await client.send("AUTH wrong")).to.equal(WRONG);
    expect(await client.send("AUTH foo right")).to.equal(WRONG);
    expect(await client.send("PING")).to.equal("-NOAUTH Authentication required.\r\n");
    expect(await client.send("AUTH default right")).to.equal("+OK\r\n");
    expect(await client.send("PING")).to.equal("+PONG\r\n");
  });

  it("compares passwords of different lengths without failing", () => {
    expect(isSamePassword(Buffer.from("a"), "abc")).to.equal(false);
    expect(isSamePassword(Buffer.from("abc"), "abc")).to.equal(true);
    expect(isSamePassword(Buffer.from([0xff]), "\xff")).to.equal(true);
  });
});

describe("protected mode", () => {
  const outside = { isProtected: true, requirePassword: "", remoteAddress: "10.0.0.7" };

  it("refuses others when there is no password, and says what to do", () => {
    const refusal = protectedModeRefusal(outside);
    expect(refusal).to.match(/^DENIED /);
    expect(refusal).to.contain("--requirepass").and.to.contain("--bind").and.to.contain("--protected-mode no");
  });

  it("lets in this machine, anybody with a password to give, and everybody once it is off", () => {
    for (const remoteAddress of ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"]) {
      expect(protectedModeRefusal({ ...outside, remoteAddress })).to.equal(null);
    }
    expect(protectedModeRefusal({ ...outside, requirePassword: "p" })).to.equal(null);
    expect(protectedModeRefusal({ ...outside, isProtected: false })).to.equal(null);
    expect(protectedModeRefusal({ ...outside, remoteAddress: "127.0.0.1.evil.example" })).to.not.equal(null);
  });
});

describe("connection commands", () => {
  it("PING and ECHO answer what they are given", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("PING")).to.equal("+PONG\r\n");
    expect(await client.send("PING", Buffer.from([0, 255]))).to.equal("$2\r\n\0\xff\r\n");
    expect(await client.send("PING a b")).to.equal("-ERR wrong number of arguments for 'ping' command\r\n");
    expect(await client.send("ECHO", "\r\n")).to.equal("$2\r\n\r\n\r\n");
  });

  it("SELECT takes 0 to 15 and keeps databases apart", async () => {
    const client = new FakeNode().connect();
    await client.send("SET k zero");
    expect(await client.send("SELECT 15")).to.equal("+OK\r\n");
    expect(await client.send("GET k")).to.equal("$-1\r\n");
    expect(await client.send("SELECT 16")).to.equal("-ERR DB index is out of range\r\n");
    expect(await client.send("SELECT -1")).to.equal("-ERR DB index is out of range\r\n");
    for (const bad of ["x", "01", "+1", "1.0", "-0", "99999999999999999999"]) {
      expect(await client.send("SELECT", bad)).to.equal("-ERR value is not an integer or out of range\r\n");
    }
    expect(client.session.scope.database).to.equal(15);
  });

  it("QUIT answers and closes, whatever it is given", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("QUIT now")).to.equal("+OK\r\n");
    expect(client.control.state).to.equal("closing");
  });

  it("RESET puts everything back, authentication included", async () => {
    const node = new FakeNode();
    node.settings.requirePassword = "p";
    const client = node.connect();
    await client.pipeline("HELLO 3 AUTH default p SETNAME n", "SELECT 4", "CONSISTENCY ONE", "MULTI");
    expect(await client.send("RESET")).to.equal("+RESET\r\n");
    expect(await client.send("PING")).to.equal("-NOAUTH Authentication required.\r\n");
    const { session } = client;
    expect(session.protocol).to.equal(2);
    expect(session.name).to.equal("");
    expect(session.scope).to.deep.equal({ database: 0, consistency: node.settings.consistencyOf(0), hold: null });
  });

  it("TIME gives seconds and microseconds", async () => {
    const node = new FakeNode();
    node.clock.nowMs = 1_234_567_890_042;
    expect(await node.connect().send("TIME")).to.equal("*2\r\n$10\r\n1234567890\r\n$5\r\n42000\r\n");
  });

  it("WAIT answers how many other replicas every answered write has reached", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("WAIT 0 0")).to.equal(":0\r\n");
    node.copies = { local: 3, elsewhere: [] };
    expect(await client.send("WAIT 1 100")).to.equal(":1\r\n");
    expect(await client.send("WAIT x 0")).to.equal("-ERR value is not an integer or out of range\r\n");
    expect(await client.send("WAIT 0 x")).to.equal("-ERR timeout is not an integer or out of range\r\n");
    expect(await client.send("WAIT 0 -1")).to.equal("-ERR timeout is negative\r\n");
  });

  it("READONLY, READWRITE and ASKING are accepted, for nothing is ever redirected", async () => {
    const client = new FakeNode().connect();
    expect(await client.pipeline("READONLY", "READWRITE", "ASKING")).to.deep.equal(["+OK\r\n", "+OK\r\n", "+OK\r\n"]);
  });
});
