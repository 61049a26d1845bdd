/** What one connection asks for without waiting for answers takes effect, and is answered, in its order. */
import { expect } from "chai";
import type { RingClient } from "./ring-client.js";
import { RingWorld } from "./ring-world.js";

type Step = "set" | "del" | "incr" | "append" | "get" | "other";

/** Begins one, which is the `at`-th of its pipeline. */
function begin(client: RingClient, step: Step, key: string, at: number): Promise<unknown> {
  switch (step) {
    case "set":
      return client.set(key, `${10 * at}`);
    case "del":
      return client.del(key);
    case "incr":
      return client.incr(key);
    case "append":
      return client.append(key, `${at}`);
    case "get":
      return client.get(key);
    case "other":
      return client.set(`${key}-other`, "x");
  }
}

/** What one server alone would answer, and hold in the end. */
function expectedOf(steps: readonly Step[]): { answers: unknown[]; value: string | null } {
  let value: string | null = null;
  const answers: unknown[] = [];
  for (const [at, step] of steps.entries()) {
    let answer: unknown;
    if (step === "get") answer = value;
    else if (step === "del") answer = value !== null;
    if (step === "set") value = `${10 * at}`;
    else if (step === "del") value = null;
    else if (step === "incr") {
      value = `${Number(value ?? 0) + 1}`;
      answer = Number(value);
    } else if (step === "append") {
      value = `${value ?? ""}${at}`;
      answer = value.length;
    }
    answers.push(answer);
  }
  return { answers, value };
}

const WRITES: readonly (readonly Step[])[] = [
  ["del", "set"],
  ["set", "del"],
  ["set", "del", "set"],
  ["set", "set"],
  ["incr", "set", "incr"],
  ["incr", "del", "incr"],
  ["append", "set", "append", "del", "append"],
  ["set", "incr", "set", "incr"],
  ["set", "get", "set", "get"],
  ["del", "set", "get"],
];

/** Reads before the first write of their key: a node with a copy knows what it held then. */
const READS_FIRST: readonly (readonly Step[])[] = [
  ["get", "set"],
  ["get", "other", "set", "get"],
  ["other", "get", "set"],
  ["set", "get", "del", "get", "set", "get"],
  ["get", "incr", "get", "del", "get"],
];

describe("a pipeline", () => {
  for (const [through, patterns] of [
    [1, [...WRITES, ...READS_FIRST]],
    [2, [...WRITES, ...READS_FIRST]],
    [4, WRITES],
  ] as const) {
    it(`through ${through === 4 ? "a node without a copy" : `owner ${through}`} is answered in its order, and leaves what its last command says`, async () => {
      for (let seed = 1; seed <= 12; seed++) {
        const world = await RingWorld.start({ nodes: 5, seed });
        // No two links are equally fast.
        for (const from of world.nodes) {
          for (const to of world.nodes) {
            if (from !== to) world.network.setDelay(from.id, to.id, 0.2 + 3 * world.random.fraction());
          }
        }
        const client = world.client(through);
        const works = patterns.flatMap((steps) => {
          const key = world.key(1, 2, 3);
          return [{ steps, key, answers: Promise.all(steps.map((step, at) => begin(client, step, key, at))) }];
        });
        for (const { steps, key, answers } of works) {
          const { answers: expected, value } = expectedOf(steps);
          expect(await world.run(answers), `${steps.join()} with seed ${seed}`).to.deep.equal(expected);
          for (const reader of [1, 3, 5]) {
            expect(await world.run(world.client(reader).get(key)), `${steps.join()} in the end`).to.equal(value);
          }
        }
      }
    });
  }

  it("shows a read what was written before it and not what is written behind it, alone in its turn or among many", async () => {
    const patterns: readonly (readonly Step[])[] = [
      ["set", "get", "set"],
      ["set", "get", "set", "get", "set", "get"],
      ["set", "other", "get", "set"],
    ];
    for (const [through, copies] of [1, 2, 3].flatMap((node) => [1, 3, 40].map((count) => [node, count] as const))) {
      for (const steps of patterns) {
        const world = await RingWorld.start({ nodes: 3, seed: through });
        const keys = Array.from({ length: copies }, () => world.key());
        const client = world.client(through);
        const { answers: expected } = expectedOf(steps);
        const works = steps.flatMap((step, at) => keys.map((key) => begin(client, step, key, at)));
        const answers = await world.run(Promise.all(works));
        for (let which = 0; which < copies; which++) {
          const own = answers.filter((_, at) => at % copies === which);
          expect(own, `${steps.join()} through ${through}, ${copies} at once`).to.deep.equal(expected);
        }
      }
    }
  });

  it("does not show a read what comes behind it, though the member that is asked has stored that before it answers", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const client = world.client(1, "ALL");
    const keys = Array.from({ length: 30 }, () => world.key());
    const reads = keys.map((key) => {
      const read = client.get(key);
      const write = client.set(key, "later");
      return Promise.all([read, write]);
    });
    const answers = await world.run(Promise.all(reads));
    expect(answers.map(([value]) => value)).to.deep.equal(keys.map(() => null));
  });

  it("does not show a read a write of its turn that the disk refused, nor spread it", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1);
    await world.run(world.client(1, "ALL").set(key, "old"));
    world.node(1).disk.faults.appendFailure = 1;
    const write = world.client(1).set(key, "refused");
    const read = world.client(1).get(key);
    expect((await world.failureOf(write)).code).to.equal("IO");
    world.node(1).disk.faults.appendFailure = 0;
    expect(await world.run(read)).to.equal("old");
    await world.pass(1_000);
    for (const number of [1, 2, 3]) expect(await world.held(number, key)).to.deep.equal(["old"]);
  });
});
