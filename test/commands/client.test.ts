import { expect } from "chai";
import { FakeNode } from "./fake-node.js";

describe("CLIENT", () => {
  it("SETNAME, GETNAME: an empty name takes it away, and blanks are refused", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CLIENT GETNAME")).to.equal("$-1\r\n");
    expect(await client.send("CLIENT SETNAME worker-1")).to.equal("+OK\r\n");
    expect(await client.send("CLIENT GETNAME")).to.equal("$8\r\nworker-1\r\n");
    for (const bad of ["a b", "a\n", "\x7f", "\xe9"]) {
      expect(await client.send("CLIENT", "SETNAME", bad)).to.equal(
        "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
      );
    }
    expect(await client.send("CLIENT", "SETNAME", "")).to.equal("+OK\r\n");
    expect(await client.send("CLIENT GETNAME")).to.equal("$-1\r\n");
  });

  it("SETINFO notes the library, and refuses what it does not know", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("client setinfo LIB-NAME node-redis")).to.equal("+OK\r\n");
    expect(await client.send("client SETINFO lib-ver 6.3.1")).to.equal("+OK\r\n");
    expect(await client.send("CLIENT INFO")).to.contain(" lib-name=node-redis lib-ver=6.3.1\n");
    expect(await client.send("CLIENT SETINFO x y")).to.equal("-ERR Unrecognized option 'x'\r\n");
    expect(await client.send("CLIENT", "SETINFO", "LIB-NAME", "a b")).to.equal(
      "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n",
    );
  });

  it("INFO has the fields of Redis in their order", async () => {
    const node = new FakeNode();
    const client = node.connect();
    node.clock.advance(5_000);
    expect(await client.send("CLIENT", "INFO")).to.equal(`$${infoLine.length}\r\n${infoLine}\r\n`);
    await client.send("HELLO 3");
    expect(await client.send("CLIENT INFO")).to.match(/^=\d+\r\ntxt:id=1 .* resp=3 lib-name= lib-ver=\n\r\n$/);
  });

  const infoLine =
    "id=1 addr=127.0.0.1:50000 laddr=127.0.0.1:6379 fd=-1 name= age=5 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 " +
    "qbuf=26 qbuf-free=0 argv-mem=10 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=36 events=r cmd=client|info " +
    "user=default redir=-1 resp=2 lib-name= lib-ver=\n";

  it("LIST shows all, some by id, or those of a type", async () => {
    const node = new FakeNode();
    const [one, two, three] = [node.connect(), node.connect("::1"), node.connect()];
    await two.pipeline("MULTI", "GET k");
    const ids = async (line: string) => [...(await one.send(line)).matchAll(/id=(\d+) /g)].map(([, id]) => Number(id));
    expect(await ids("CLIENT LIST")).to.deep.equal([1, 2, 3]);
    expect(await ids("CLIENT LIST ID 3 1 99")).to.deep.equal([1, 3]);
    expect(await ids("CLIENT LIST TYPE normal")).to.deep.equal([1, 2, 3]);
    expect(await ids("CLIENT LIST TYPE pubsub")).to.deep.equal([]);
    expect(await one.send("CLIENT LIST ID 2")).to.match(/addr=\[::1\]:\d+ .* flags=x .* multi=1 .* cmd=multi /);
    three.close();
    expect(await ids("CLIENT LIST")).to.deep.equal([1, 2]);
    expect(await one.send("CLIENT LIST TYPE foo")).to.equal("-ERR Unknown client type 'foo'\r\n");
    expect(await one.send("CLIENT LIST ID x")).to.equal("-ERR Invalid client ID\r\n");
    for (const bad of ["CLIENT LIST FOO", "CLIENT LIST TYPE", "CLIENT LIST ID"]) {
      expect(await one.send(bad)).to.equal("-ERR syntax error\r\n");
    }
  });

  it("KILL by address answers OK and closes that connection", async () => {
    const node = new FakeNode();
    const [one, two] = [node.connect(), node.connect()];
    expect(await one.send(`CLIENT KILL ${two.session.remoteAddress}`)).to.equal("+OK\r\n");
    expect(two.control.state).to.equal("killed");
    expect(await one.send("CLIENT KILL 1.2.3.4:5")).to.equal("-ERR No such client\r\n");
    expect(one.control.state).to.equal("open");
  });

  it("KILL takes those that match every filter, and spares itself unless told", async () => {
    const node = new FakeNode();
    const clients = [node.connect(), node.connect("10.0.0.1"), node.connect("10.0.0.2")];
    const states = () => clients.map((client) => client.control.state);
    const [self, second] = [clients[0]!, clients[1]!];
    expect(await self.send(`CLIENT KILL ID 2 ADDR ${second.session.remoteAddress} USER default TYPE normal`)).to.equal(
      ":1\r\n",
    );
    expect(states()).to.deep.equal(["open", "killed", "open"]);
    expect(await self.send("CLIENT KILL ID 3 ADDR 9.9.9.9:1")).to.equal(":0\r\n");
    expect(await self.send("CLIENT KILL LADDR 127.0.0.1:6379 TYPE replica")).to.equal(":0\r\n");
    expect(await self.send("CLIENT KILL TYPE normal")).to.equal(":2\r\n");
    expect(states()).to.deep.equal(["open", "killed", "killed"]);
    expect(await self.send("CLIENT KILL ID 1 SKIPME no")).to.equal(":1\r\n");
    expect(states()[0]).to.equal("closing");
  });

  it("KILL refuses filters that mean nothing", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CLIENT KILL ID x")).to.equal("-ERR client-id should be greater than 0\r\n");
    expect(await client.send("CLIENT KILL ID 0")).to.equal("-ERR client-id should be greater than 0\r\n");
    expect(await client.send("CLIENT KILL TYPE foo")).to.equal("-ERR Unknown client type 'foo'\r\n");
    expect(await client.send("CLIENT KILL USER foo")).to.equal("-ERR No such user 'foo'\r\n");
    for (const bad of ["CLIENT KILL SKIPME foo", "CLIENT KILL ID 1 ID", "CLIENT KILL FOO bar"]) {
      expect(await client.send(bad)).to.equal("-ERR syntax error\r\n");
    }
  });

  it("REPLY answers only when it is switched on", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CLIENT REPLY OFF")).to.equal("");
    expect(client.control.replyMode).to.equal("off");
    expect(await client.send("CLIENT REPLY SKIP")).to.equal("");
    expect(client.control.replyMode).to.equal("skip");
    expect(await client.send("CLIENT REPLY ON")).to.equal("+OK\r\n");
    expect(client.control.replyMode).to.equal("on");
    expect(await client.send("CLIENT REPLY FOO")).to.equal("-ERR syntax error\r\n");
  });

  it("does not know what would arm machinery that is not there", async () => {
    const client = new FakeNode().connect();
    for (const [name, ...rest] of [
      ["TRACKING", "ON"],
      ["MAINT_NOTIFICATIONS", "ON"],
      ["CAPA", "redirect"],
      ["CACHING", "YES"],
    ]) {
      expect(await client.send("CLIENT", name!, ...rest)).to.equal(`-ERR unknown subcommand '${name}'. Try CLIENT HELP.\r\n`);
    }
    expect(await client.send("CLIENT GETREDIR")).to.equal(":-1\r\n");
    expect(await client.send("CLIENT TRACKINGINFO")).to.equal(
      "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
    );
    await client.send("HELLO 3");
    expect(await client.send("CLIENT TRACKINGINFO")).to.equal(
      "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
    );
  });

  it("NO-EVICT, NO-TOUCH and UNBLOCK check their words", async () => {
    const client = new FakeNode().connect();
    expect(await client.pipeline("CLIENT NO-EVICT ON", "CLIENT NO-TOUCH ON")).to.deep.equal(["+OK\r\n", "+OK\r\n"]);
    expect(await client.send("CLIENT INFO")).to.contain(" flags=eT ");
    expect(await client.send("CLIENT NO-TOUCH FOO")).to.equal("-ERR syntax error\r\n");
    expect(await client.send("CLIENT UNBLOCK 99")).to.equal(":0\r\n");
    expect(await client.send("CLIENT UNBLOCK x")).to.equal("-ERR value is not an integer or out of range\r\n");
    expect(await client.send("CLIENT UNBLOCK 1 FOO")).to.equal("-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n");
  });

  it("PAUSE refuses what is no time and no mode", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CLIENT PAUSE x")).to.equal("-ERR timeout is not an integer or out of range\r\n");
    expect(await client.send("CLIENT PAUSE -1")).to.equal("-ERR timeout is negative\r\n");
    expect(await client.send("CLIENT PAUSE 0 FOO")).to.equal("-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n");
  });

  it("HELP lists every subcommand of the table", async () => {
    const client = new FakeNode().connect();
    const help = await client.send("CLIENT HELP");
    for (const name of ["ID", "SETNAME <connection-name>", "KILL", "PAUSE <timeout> [(WRITE|ALL)]", "HELP"]) {
      expect(help).to.contain(`+${name}`);
    }
  });
});
