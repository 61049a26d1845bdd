import { expect } from "chai";
import fc from "fast-check";
import { AssertionError } from "../../lib/assert.js";
import type { Command } from "../../lib/commands/command.js";
import { CommandTable } from "../../lib/commands/command-table.js";

function named(name: string, subcommands: readonly string[] = []): Command {
  const about = { arity: -1, flags: [], keys: null, since: "1.0.0", group: "server", summary: "", arguments: [] } as const;
  const command: Command = { ...about, name, run: () => undefined };
  return subcommands.length === 0 ? command : { ...command, subcommands: subcommands.map((sub) => named(sub)) };
}

const name = fc.stringMatching(/^[a-z_-]{1,12}$/);
/** Bytes that look alike once a bit is ignored: `@` and a backquote, `[` and `{`. */
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 50 }),
  fc.stringMatching(/^[@`[{A-Za-z_-]{1,12}$/).map((text) => Buffer.from(text)),
);

describe("the command table", () => {
  it("finds exactly the names it has, in any case", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(name, { minLength: 1, maxLength: 60 }),
        bytes,
        fc.array(fc.boolean(), { minLength: 12, maxLength: 12 }),
        (names, other, flips) => {
          const table = new CommandTable(names.map((each) => named(each)));
          for (const each of names) {
            const typed = [...each].map((char, at) => (flips[at] === true ? char.toUpperCase() : char)).join("");
            expect(table.find(Buffer.from(typed))?.fullName).to.equal(each);
          }
          const lower = Buffer.from(other)
            .toString("latin1")
            .replace(/[A-Z]/g, (char) => char.toLowerCase());
          expect(table.find(other)?.fullName ?? null).to.equal(names.includes(lower) ? lower : null);
        },
      ),
    );
  });

  it("finds subcommands by their full name and through requests", () => {
    const table = new CommandTable([named("config", ["get", "set"]), named("get")]);
    expect(table.named("CONFIG|Get")?.fullName).to.equal("config|get");
    expect(table.named("get|set")).to.equal(null);
    expect(table.named("config|get|x")).to.equal(null);
    expect([...table.all()].map((entry) => entry.fullName)).to.deep.equal(["config", "config|get", "config|set", "get"]);
    const request = (...words: string[]) => table.resolve(words.map((word) => Buffer.from(word)));
    expect(request("config", "SET")).to.deep.include({ kind: "found" });
    expect(request("config", "nope").kind).to.equal("unknown subcommand");
    expect(request("nope").kind).to.equal("unknown command");
  });

  it("cannot be built with a name twice", () => {
    expect(() => new CommandTable([named("get"), named("get")])).to.throw(AssertionError);
  });

  it("finds keys by first, last and step, the last counting from the end", () => {
    const at = (keys: { first: number; last: number; step: number }, count: number) => {
      const entry = new CommandTable([{ ...named("x"), keys }]).entries[0]!;
      return entry.keyPositions(Array.from({ length: count }, () => Buffer.alloc(0)));
    };
    expect(at({ first: 1, last: 1, step: 1 }, 5)).to.deep.equal([1]);
    expect(at({ first: 1, last: -1, step: 2 }, 7)).to.deep.equal([1, 3, 5]);
    expect(at({ first: 2, last: -2, step: 1 }, 6)).to.deep.equal([2, 3, 4]);
    expect(at({ first: 1, last: 2, step: 1 }, 2)).to.deep.equal([1]);
  });
});
