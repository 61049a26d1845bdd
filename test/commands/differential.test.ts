/** Compares replies with those of a redis-server 7.0, byte for byte. Skipped, with the reason, where there is none. */
import { expect } from "chai";
import fc from "fast-check";
import RedisParser from "redis-parser";
import type { Command } from "../../lib/commands/command.js";
import { TableEntry } from "../../lib/commands/command-table.js";
import { Glob } from "../../lib/commands/glob.js";
import { FakeNode } from "./fake-node.js";
import { commands } from "./keyed-commands.js";
import { requests } from "./random-requests.js";
import { isRedisInstalled, type RedisConnection, RedisProcess } from "./redis-process.js";
import { readable, readScripts } from "./script.js";

describe("compared with redis-server", function () {
  this.timeout(30_000);
  let redis: RedisProcess | null = null;
  let connection: RedisConnection;

  before(async function () {
    if (!isRedisInstalled()) {
      console.log("      skipped: there is no redis-server 7.0 on the PATH");
      this.skip();
    }
    redis = await RedisProcess.start();
    connection = redis.connect();
  });

  after(async () => {
    connection?.close();
    await redis?.stop();
  });

  for (const script of readScripts().filter(({ isOurs }) => !isOurs)) {
    it(`the replies of ${script.file}: ${script.title}`, async () => {
      await connection.run("FLUSHALL");
      await connection.run("HELLO", String(script.protocol));
      for (const step of script.steps) {
        if (step.kind === "clock") throw new Error("a redis-server's clock does not move: mark the script as ours");
        const reply = readable(await connection.run(...step.args));
        expect(reply, `${script.file}:${step.line} ${step.args.join(" ")}`).to.equal(step.reply);
      }
    });
  }

  for (const protocol of [2, 3] as const) {
    it(`random sequences of commands answer the same in RESP${protocol}`, async () => {
      await connection.run("HELLO", String(protocol));
      await fc.assert(
        fc.asyncProperty(requests, async (sequence) => {
          await connection.run("FLUSHALL");
          const node = new FakeNode();
          const client = node.connect();
          await client.send(`HELLO ${protocol}`);
          for (const request of sequence) {
            node.clock.nowMs = Date.now();
            const ours = await client.run(...request);
            const theirs = await connection.run(...request);
            expect(withinASecond(request, ours, theirs) ? theirs : ours, request.join(" ")).to.equal(theirs);
          }
        }),
        { numRuns: 300 },
      );
    });
  }

  it("random patterns match the same keys", async () => {
    // Bytes above 127 are left out: where a range of Redis's has them depends on the processor it was built for.
    const part = fc.constantFrom("a", "b", "-", "]", "[", "^", "\\", "*", "?", "[a", "[^a", "a-c", "]", "\\]");
    const pattern = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(""));
    const key = fc.string({ unit: fc.constantFrom("a", "b", "c", "-", "]", "[", "^", "\\"), minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(pattern, key, async (glob, name) => {
        await connection.run("FLUSHALL");
        await connection.run("SET", name, "v");
        const isMatched = (await connection.run("KEYS", glob)).startsWith("*1");
        expect(new Glob(Buffer.from(glob, "latin1")).matches(name)).to.equal(isMatched);
      }),
      { numRuns: 3_000 },
    );
  });

  it("sums of fractions that binary floating point holds exactly read the same", async () => {
    const quarter = fc.integer({ min: -(2 ** 40), max: 2 ** 40 }).map((value) => String(value / 4));
    await fc.assert(
      fc.asyncProperty(quarter, quarter, async (a, b) => {
        const client = new FakeNode().connect();
        for (const side of [client, connection]) await side.run("SET", "k", a);
        expect(await client.run("INCRBYFLOAT", "k", b)).to.equal(await connection.run("INCRBYFLOAT", "k", b));
      }),
      { numRuns: 300 },
    );
  });

  it("arity, flags, key positions, version and group of every command are Redis's", async () => {
    await connection.run("HELLO", "2");
    for (const command of commands) {
      const ours = [command, ...(command.subcommands ?? []).map((one) => ({ ...one, name: `${command.name}|${one.name}` }))];
      // The container MEMORY is another table's.
      for (const one of command.name === "memory" ? ours.slice(1) : ours) {
        const [info] = parsed(await connection.run("COMMAND", "INFO", one.name)) as unknown[][];
        expect(infoOf(one), one.name).to.deep.equal(info?.slice(0, 6));
        const specifications = info?.[8] as unknown[][];
        // Redis describes the two keys of RENAME and COPY each by itself.
        if (specifications.length === 1) expect(accessOf(one), one.name).to.deep.equal(flagsOf(specifications[0]!));
        const [, docs] = parsed(await connection.run("COMMAND", "DOCS", one.name)) as [string, string[]];
        // HELP is made from the table and as old as its container.
        if (!one.name.endsWith("|help")) expect(one.since, one.name).to.equal(docs[docs.indexOf("since") + 1]);
        expect(one.group, `group of ${one.name}`).to.equal(docs[docs.indexOf("group") + 1]);
      }
    }
  });
});

function infoOf(command: Command): unknown[] {
  const { first, last, step } = command.keys ?? { first: 0, last: 0, step: 0 };
  return [command.name, command.arity, [...command.flags], first, last, step];
}

function accessOf(command: Command): readonly string[] {
  return new TableEntry(command, null).access;
}

/** Without the remark that options change what the command does. */
function flagsOf(specification: readonly unknown[]): unknown {
  const flags = specification[specification.indexOf("flags") + 1] as string[];
  return flags.filter((flag) => flag !== "variable_flags");
}

/** The two sides look at their clocks one after the other. */
function withinASecond([name]: readonly string[], ours: string, theirs: string): boolean {
  if (name !== "TTL" || !ours.startsWith(":") || !theirs.startsWith(":")) return false;
  return Math.abs(Number(ours.slice(1)) - Number(theirs.slice(1))) <= 1;
}

function parsed(reply: string): unknown {
  let value: unknown;
  const parser = new RedisParser({
    returnReply: (answer: unknown) => {
      value = answer;
    },
    returnError: (error: Error) => {
      throw error;
    },
  });
  parser.execute(Buffer.from(reply, "latin1"));
  return value;
}
