import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { FakeNode } from "./fake-node.js";

describe("server commands", () => {
  it("ROLE, LASTSAVE, SAVE and BGSAVE answer as a Redis whose data is on disk", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("ROLE")).to.equal("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    expect(await client.send("LASTSAVE")).to.equal(":1700000000\r\n");
    expect(await client.send("SAVE")).to.equal("+OK\r\n");
    expect(await client.send("BGSAVE")).to.equal("+Background saving started\r\n");
    expect(await client.send("BGSAVE FOO")).to.equal("-ERR syntax error\r\n");
    node.durable = async () => {
      throw new OperatingError("IO", "disk failed");
    };
    expect(await client.send("SAVE")).to.equal("-IOERR disk failed\r\n");
    expect(await client.send("BGSAVE SCHEDULE")).to.equal("+Background saving started\r\n");
  });

  it("SHUTDOWN asks the node to stop and answers nothing", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("SHUTDOWN NOSAVE NOW")).to.equal("");
    expect(node.shutdowns).to.equal(1);
    expect(await client.send("SHUTDOWN ABORT")).to.equal("-ERR No shutdown in progress.\r\n");
    for (const bad of ["SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOW", "SHUTDOWN FOO"]) {
      expect(await client.send(bad)).to.equal("-ERR syntax error\r\n");
    }
    expect(node.shutdowns).to.equal(1);
  });

  it("modules, functions and scripts are none", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("MODULE LIST")).to.equal("*0\r\n");
    expect(await client.pipeline("FUNCTION FLUSH", "SCRIPT FLUSH ASYNC")).to.deep.equal(["+OK\r\n", "+OK\r\n"]);
    expect(await client.send("SCRIPT EXISTS a b")).to.equal("*2\r\n:0\r\n:0\r\n");
    expect(await client.send("SCRIPT FLUSH x")).to.equal("-ERR SCRIPT FLUSH only support SYNC|ASYNC option\r\n");
    expect(await client.send("SCRIPT LOAD x")).to.equal("-ERR unknown subcommand 'LOAD'. Try SCRIPT HELP.\r\n");
  });

  it("ACL knows the one user and the categories of the table", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("ACL WHOAMI")).to.equal("$7\r\ndefault\r\n");
    expect(await client.send("ACL LIST")).to.equal("*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n");
    expect(await client.send("ACL CAT transaction")).to.contain("$4\r\nexec\r\n");
    expect(await client.send("ACL CAT foo")).to.equal("-ERR Unknown category 'foo'\r\n");
    node.settings.requirePassword = "p";
    expect(await client.send("ACL LIST")).to.match(/user default on #[0-9a-f]{64} ~\* &\* \+@all\r\n$/);
  });
});

describe("SLOWLOG", () => {
  it("keeps the newest entries, cuts long requests and hides secrets", async () => {
    const node = new FakeNode();
    node.settings.slowlogSlowerThanMicros = 0;
    const client = node.connect();
    await client.send("CLIENT SETNAME me");
    await client.send("SLOWLOG RESET");
    await client.send("PING", "x".repeat(200));
    await client.send("AUTH default secret");
    await client.send("MGET", ...Array.from({ length: 40 }, (_, n) => `k${n}`));
    await client.send("CONFIG SET requirepass secret");
    const log = await client.send("SLOWLOG GET -1");
    expect(log).to.contain("... (72 more bytes)");
    expect(log).to.contain("... (10 more arguments)");
    expect(log).to.not.contain("secret");
    expect(log).to.contain(`$${client.session.remoteAddress.length}\r\n${client.session.remoteAddress}\r\n$2\r\nme\r\n`);
    node.settings.slowlogLengthMax = 2;
    expect(await client.send("SLOWLOG LEN")).to.equal(":2\r\n");
    expect(await client.send("SLOWLOG GET 1")).to.match(/^\*1\r\n\*6\r\n/);
  });

  it("takes a count of -1 or more", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("SLOWLOG GET")).to.equal("*0\r\n");
    for (const bad of ["SLOWLOG GET -2", "SLOWLOG GET x"]) {
      expect(await client.send(bad)).to.equal("-ERR count should be greater than or equal to -1\r\n");
    }
  });
});

describe("LATENCY", () => {
  it("keeps the spikes above the threshold, the worst of each second", async () => {
    const node = new FakeNode();
    node.settings.latencyThresholdMs = 10;
    const client = node.connect();
    expect(await client.send("LATENCY LATEST")).to.equal("*0\r\n");
    node.clock.stepMs = 20;
    await client.send("GET k");
    node.clock.stepMs = 30;
    await client.send("GET k");
    node.clock.stepMs = 0;
    expect(await client.send("LATENCY LATEST")).to.equal("*1\r\n*4\r\n$12\r\nfast-command\r\n:1700000000\r\n:30\r\n:30\r\n");
    expect(await client.send("LATENCY HISTORY fast-command")).to.equal("*1\r\n*2\r\n:1700000000\r\n:30\r\n");
    expect(await client.send("LATENCY DOCTOR")).to.contain("fast-command: 1 spikes, on average 30.0 ms, worst 30 ms.");
    expect(await client.send("LATENCY RESET nope")).to.equal(":0\r\n");
    expect(await client.send("LATENCY RESET")).to.equal(":1\r\n");
    expect(await client.send("LATENCY HISTORY fast-command")).to.equal("*0\r\n");
  });

  it("HISTOGRAM shows calls and their times by command, a container standing for its subcommands", async () => {
    const client = new FakeNode().connect();
    await client.pipeline("HELLO 3", "CONFIG GET save", "PING", "PING");
    expect(await client.send("LATENCY HISTOGRAM ping nope")).to.equal(
      "%1\r\n$4\r\nping\r\n%2\r\n$5\r\ncalls\r\n:2\r\n$14\r\nhistogram_usec\r\n%1\r\n:1\r\n:1\r\n",
    );
    expect(await client.send("LATENCY HISTOGRAM config")).to.match(/^%1\r\n\$10\r\nconfig\|get\r\n/);
  });
});

describe("DEBUG", () => {
  it("is for those whom enable-debug-command lets", async () => {
    const node = new FakeNode();
    const [local, remote] = [node.connect(), node.connect("10.0.0.1")];
    expect(await local.send("DEBUG SET-ACTIVE-EXPIRE 0")).to.equal("+OK\r\n");
    expect(node.activeExpiry).to.equal("off");
    expect(await remote.send("DEBUG SLEEP 0")).to.match(/^-ERR DEBUG command not allowed\. If the enable-debug-command /);
    node.settings.debugCommand = "yes";
    expect(await remote.send("DEBUG SET-ACTIVE-EXPIRE 1")).to.equal("+OK\r\n");
    node.settings.debugCommand = "no";
    expect(await local.send("DEBUG SLEEP 0")).to.match(/^-ERR DEBUG command not allowed/);
  });

  it("SLEEP holds its own connection back for that long", async () => {
    const node = new FakeNode();
    const client = node.connect();
    let answered: string[] | null = null;
    const both = client.pipeline("DEBUG SLEEP 0.5", "PING").then((answers) => (answered = answers));
    await Promise.resolve();
    await Promise.resolve();
    node.clock.advance(499);
    await new Promise(setImmediate);
    expect(answered).to.equal(null);
    node.clock.advance(1);
    expect(await both).to.deep.equal(["+OK\r\n", "+PONG\r\n"]);
  });

  it("PROTOCOL shows each type in both protocols", async () => {
    const client = new FakeNode().connect();
    const ask = (types: readonly string[]) => client.pipeline(...types.map((type) => `DEBUG PROTOCOL ${type}`));
    const types = ["string", "integer", "double", "bignum", "null", "array", "set", "map", "verbatim", "true", "false"];
    expect(await ask(types)).to.deep.equal([
      "$11\r\nHello World\r\n",
      ":12345\r\n",
      "$5\r\n3.141\r\n",
      "$37\r\n1234567999999999999999999999999999999\r\n",
      "$-1\r\n",
      "*3\r\n:0\r\n:1\r\n:2\r\n",
      "*3\r\n:0\r\n:1\r\n:2\r\n",
      "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n",
      "$25\r\nThis is a verbatim\nstring\r\n",
      ":1\r\n",
      ":0\r\n",
    ]);
    expect(await client.send("DEBUG PROTOCOL push")).to.equal("-ERR RESP2 is not supported by this command\r\n");
    await client.send("HELLO 3");
    expect(await ask(types)).to.deep.equal([
      "$11\r\nHello World\r\n",
      ":12345\r\n",
      ",3.141\r\n",
      "(1234567999999999999999999999999999999\r\n",
      "_\r\n",
      "*3\r\n:0\r\n:1\r\n:2\r\n",
      "~3\r\n:0\r\n:1\r\n:2\r\n",
      "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n",
      "=29\r\ntxt:This is a verbatim\nstring\r\n",
      "#t\r\n",
      "#f\r\n",
    ]);
    expect(await client.send("DEBUG PROTOCOL attrib")).to.match(/^\|1\r\n\$14\r\nkey-popularity\r\n/);
    expect(await client.send("DEBUG PROTOCOL foo")).to.match(/^-ERR Wrong protocol type name\. /);
    expect(await client.send("DEBUG FOO")).to.equal(
      "-ERR unknown subcommand or wrong number of arguments for 'FOO'. Try DEBUG HELP.\r\n",
    );
  });
});
