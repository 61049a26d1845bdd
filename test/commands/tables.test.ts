/** What the tables say of their commands has to hang together: COMMAND, the dispatcher and redis-cli rely on it. */
import { expect } from "chai";
import type { ArgumentDoc, Command } from "../../lib/commands/command.js";
import { commands } from "./keyed-commands.js";

describe("the tables of string, key and expiry commands", () => {
  it("names are lower case and unique", () => {
    const names = commands.map(({ name }) => name);
    expect(new Set(names).size).to.equal(names.length);
    for (const name of names) expect(name).to.match(/^[a-z]+$/);
  });

  for (const command of commands.flatMap((one) => [one, ...(one.subcommands ?? [])])) {
    if (command.subcommands !== undefined) continue;
    it(`the arguments of ${command.name} agree with its arity and its keys`, () => {
      const words = command.keys?.first === 2 || command.name === "help" ? 2 : 1;
      const required = command.arguments.filter(({ optional }) => optional === undefined);
      const fixed = words + required.reduce((sum, argument) => sum + wordsOf(argument), 0);
      expect(fixed).to.equal(Math.abs(command.arity));
      const isOpen = command.arguments.some(({ optional, multiple }) => optional === true || multiple === true);
      expect(command.arity < 0).to.equal(isOpen);
      expect(command.keys === null).to.equal(keysOf(command.arguments) === 0);
    });

    it(`${command.name} either writes or reads`, () => {
      const kinds = command.flags.filter((flag) => flag === "write" || flag === "readonly");
      expect(kinds).to.have.lengthOf(command.name === "help" ? 0 : 1);
    });
  }
});

function wordsOf(argument: ArgumentDoc): number {
  const own = argument.token === undefined || argument.type === "pure-token" ? 1 : 2;
  return argument.type === "block" ? (argument.arguments ?? []).reduce((sum, part) => sum + wordsOf(part), 0) : own;
}

function keysOf(docs: Command["arguments"]): number {
  return docs.reduce((sum, argument) => sum + (argument.type === "key" ? 1 : keysOf(argument.arguments ?? [])), 0);
}
