import { expect } from "chai";
import { decode, type Value } from "./decode.js";
import { FakeNode } from "./fake-node.js";

describe("COMMAND", () => {
  it("INFO answers for every command what the table says of it", async () => {
    const node = new FakeNode();
    const client = node.connect();
    const all = decode(await client.send("COMMAND")) as Value[][];
    expect(all.length).to.equal(node.built.table.entries.length);
    expect(await client.send("COMMAND COUNT")).to.equal(`:${all.length}\r\n`);
    for (const [at, entry] of node.built.table.entries.entries()) {
      const described = all[at]!;
      expect(described.length).to.equal(10);
      const [name, arity, flags, first, last, step, , , , subcommands] = described;
      expect(name).to.equal(entry.fullName);
      expect(arity).to.equal(entry.arity);
      expect(flags).to.deep.equal(entry.command.flags);
      expect([first, last, step]).to.deep.equal(
        entry.command.keys === null ? [0, 0, 0] : [entry.command.keys.first, entry.command.keys.last, entry.command.keys.step],
      );
      const subs = (subcommands as Value[][]).map(([subName, subArity]) => [subName, subArity]);
      expect(subs).to.deep.equal((entry.subcommands?.entries ?? []).map((sub) => [sub.fullName, sub.arity]));
    }
  });

  it("INFO of GET is what Redis answers, in both protocols", async () => {
    const client = new FakeNode().connect();
    const resp2 =
      "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n" +
      "$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n" +
      "*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n";
    expect(await client.send("COMMAND INFO get")).to.equal(resp2);
    await client.send("HELLO 3");
    expect(await client.send("COMMAND INFO GET")).to.match(/^\*1\r\n\*10\r\n\$3\r\nget\r\n:2\r\n~2\r\n\+readonly\r\n/);
  });

  it("INFO answers nil for what there is not", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("COMMAND INFO nope config|nope get|set a|b|c")).to.equal("*4\r\n$-1\r\n$-1\r\n$-1\r\n$-1\r\n");
    await client.send("HELLO 3");
    expect(await client.send("COMMAND INFO nope")).to.equal("*1\r\n_\r\n");
    expect(await client.send("COMMAND INFO config|get")).to.match(/^\*1\r\n\*10\r\n\$10\r\nconfig\|get\r\n:-3\r\n/);
  });

  it("DOCS documents what it knows and leaves out the rest", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("COMMAND DOCS get nope")).to.equal(
      "*2\r\n$3\r\nget\r\n*10\r\n$7\r\nsummary\r\n$35\r\nAnswers the value of a key, or nil.\r\n$5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$6\r\nstring\r\n" +
        "$10\r\ncomplexity\r\n$4\r\nO(1)\r\n$9\r\narguments\r\n*1\r\n*6\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n$14\r\nkey_spec_index\r\n:0\r\n",
    );
    await client.send("HELLO 3");
    const docs = decode(await client.send("COMMAND DOCS")) as Map<string, Map<string, Value>>;
    expect([...docs.keys()]).to.include.members(["consistency", "siblings", "client", "config"]);
    expect([...(docs.get("config")!.get("subcommands") as Map<string, Value>).keys()]).to.include("config|get");
    for (const doc of docs.values()) {
      const summary = doc.get("summary");
      if (summary !== "For tests.") expect(summary).to.match(/^[A-Z].*\.$/);
    }
  });

  it("LIST filters by pattern, category and module", async () => {
    const client = new FakeNode().connect();
    expect(decode(await client.send("COMMAND LIST FILTERBY PATTERN config*"))).to.have.members([
      "config",
      "config|get",
      "config|set",
      "config|resetstat",
      "config|rewrite",
      "config|help",
    ]);
    expect(decode(await client.send("COMMAND LIST FILTERBY ACLCAT transaction"))).to.have.members([
      "multi",
      "exec",
      "discard",
      "watch",
      "unwatch",
    ]);
    expect(await client.send("COMMAND LIST FILTERBY ACLCAT foo")).to.equal("*0\r\n");
    expect(await client.send("COMMAND LIST FILTERBY MODULE foo")).to.equal("*0\r\n");
    expect(decode(await client.send("COMMAND LIST"))).to.include("get");
    for (const bad of ["COMMAND LIST FILTERBY", "COMMAND LIST FOO", "COMMAND LIST FILTERBY FOO bar"]) {
      expect(await client.send(bad)).to.equal("-ERR syntax error\r\n");
    }
  });

  it("GETKEYS and GETKEYSANDFLAGS find the keys of a request", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("COMMAND GETKEYS mset a 1 b 2")).to.equal("*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    expect(await client.send("COMMAND GETKEYS consistency one strict mget x y")).to.equal("*2\r\n$1\r\nx\r\n$1\r\ny\r\n");
    expect(await client.send("COMMAND GETKEYSANDFLAGS set a 1")).to.equal(
      "*1\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+update\r\n",
    );
    expect(await client.send("COMMAND GETKEYSANDFLAGS get a")).to.equal("*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n");
    expect(await client.send("COMMAND GETKEYS foo a")).to.equal("-ERR Invalid command specified\r\n");
    expect(await client.send("COMMAND GETKEYS ping a")).to.equal("-ERR The command has no key arguments\r\n");
    expect(await client.send("COMMAND GETKEYS get a b")).to.equal("-ERR Invalid number of arguments specified for command\r\n");
    expect(await client.send("COMMAND GETKEYS")).to.equal("-ERR wrong number of arguments for 'command|getkeys' command\r\n");
  });
});
