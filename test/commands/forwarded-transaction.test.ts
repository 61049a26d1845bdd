import { expect } from "chai";
import { keysOfForwarded } from "../../lib/commands/forwarded-commands.js";
import { decodeTransaction, encodeTransaction } from "../../lib/commands/forwarded-transaction.js";
import { OperatingError } from "../../lib/errors.js";
import { FakeNode } from "./fake-node.js";

const { table } = new FakeNode().built;
const words = (line: string): Buffer[] => line.split(" ").map((word) => Buffer.from(word));
const queued = (line: string) => {
  const lookup = table.resolve(words(line));
  if (lookup.kind !== "found") throw new Error(line);
  return { entry: lookup.entry, args: words(line) };
};

describe("a transaction that is passed on", () => {
  it("comes back with its commands in order and what they depend on", () => {
    const queue = [queued("set k v"), queued("incr n"), queued("mget k n")];
    const watched = [{ database: 3, key: Buffer.from("w"), fingerprint: "1.2" }];
    const decoded = decodeTransaction(encodeTransaction(queue, watched), table);
    expect(decoded.watched).to.deep.equal(watched);
    expect(decoded.queue.map(({ entry, args }) => [entry.fullName, args.join(" ")])).to.deep.equal([
      ["set", "set k v"],
      ["incr", "incr n"],
      ["mget", "mget k n"],
    ]);
  });

  it("names the keys that it is decided by, as a single command does", () => {
    const keysOf = (args: readonly Buffer[]): string[] => keysOfForwarded(table)(args).map(String);
    const watched = [{ database: 3, key: Buffer.from("w"), fingerprint: "1.2" }];
    expect(keysOf(encodeTransaction([queued("set k v"), queued("mget k n")], watched))).to.deep.equal(["w", "k", "k", "n"]);
    expect(keysOf(words("msetnx a 1 b 2"))).to.deep.equal(["a", "b"]);
    expect(keysOf(words("incr"))).to.deep.equal([]);
    expect(keysOf(words("later-than-this a"))).to.deep.equal([]);
  });

  it("is refused when it is cut, has no keys in a command, or numbers that are none", () => {
    const whole = encodeTransaction([queued("set k v")], []);
    for (let length = 1; length < whole.length; length++) {
      if (length === 2) continue;
      expect(() => decodeTransaction(whole.slice(0, length), table), `${length} words`).to.throw(OperatingError);
    }
    const bad =
      (...line: string[]) =>
      () =>
        decodeTransaction(
          line.map((word) => Buffer.from(word)),
          table,
        );
    expect(bad("exec", "0", "1", "ping")).to.throw(OperatingError);
    expect(bad("exec", "x")).to.throw(OperatingError);
    expect(bad("exec", "1", "16", "w", "1.2", "3", "set", "k", "v")).to.throw(OperatingError);
    expect(bad("exec", "0", "2", "get", "k", "0")).to.throw(OperatingError);
    expect(bad("exec", "0", "3", "get", "k", "k")).to.throw(OperatingError);
  });
});
