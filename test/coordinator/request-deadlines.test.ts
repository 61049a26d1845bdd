/** No request stays unanswered past `request-timeout`, whatever hangs; and what is told to have failed for good has. */
import { expect } from "chai";
import type { OperatingError } from "../../lib/errors.js";
import type { RingClient } from "./ring-client.js";
import { mintAt, RingWorld } from "./ring-world.js";

const TIMEOUT_MS = 400;
/** Timers and looks at what is in flight come a little later. */
const GRACE_MS = 25;

const REQUESTS: readonly [name: string, run: (client: RingClient, key: string) => Promise<unknown>][] = [
  ["SET", (client, key) => client.set(key, "w")],
  ["GET", (client, key) => client.get(key)],
  ["DEL", (client, key) => client.del(key)],
  ["SIBLINGS", (client, key) => client.siblings(key)],
  ["INCR", (client, key) => client.incr(key)],
  ["SETNX", (client, key) => client.setnx(key, "w")],
  ["SET CONTEXT", async (client, key) => client.setWithContext(key, "w", (await client.siblings(key))?.context ?? "")],
  ["MSETNX", (client, key) => client.msetnx(key, "w", `${key}-b`, "w")],
];

const TROUBLES: readonly [what: string, make: (world: RingWorld, at: number) => Promise<void>][] = [
  [
    "all peers are frozen",
    async (world, at) => {
      for (const { number } of world.nodes) if (number !== at) world.freeze(number);
    },
  ],
  ["this node is cut off", async (world, at) => world.split(at)],
  [
    "all peers are dead",
    async (world, at) => {
      for (const { number } of world.nodes) if (number !== at) await world.kill(number);
    },
  ],
  [
    "all disks hang",
    async (world) => {
      for (const node of world.nodes) hang(node);
    },
  ],
  ["this node's disk hangs", async (world, at) => hang(world.node(at))],
  [
    "the disks of all peers hang",
    async (world, at) => {
      for (const node of world.nodes) if (node.number !== at) hang(node);
    },
  ],
];

function hang({ store }: RingWorld["nodes"][number]): void {
  store.coldness = 1;
  store.readMsMax = 1e9;
}

describe("a request's deadline", () => {
  for (const [what, make] of TROUBLES) {
    it(`holds while ${what}, for every request through every kind of node`, async () => {
      for (const words of ["", "STRICT ALL", "ONE"]) {
        for (const at of [1, 2, 4]) {
          const world = await RingWorld.start({ nodes: 5, settings: { requestTimeoutMs: TIMEOUT_MS } });
          const keys = REQUESTS.map(() => world.key(1, 2, 3));
          for (const key of keys) await world.run(world.client(1, "ALL").set(key, "1"));
          await make(world, at);
          const times = REQUESTS.map(([, run], index) => world.timeOf(run(world.client(at, words), keys[index]!)));
          // SET CONTEXT reads first: that is two requests.
          for (const [index, time] of (await Promise.all(times)).entries()) {
            const [name] = REQUESTS[index]!;
            const limitMs = name === "SET CONTEXT" ? 2 * TIMEOUT_MS : TIMEOUT_MS;
            expect(time, `${name} ${words} through ${at}`).to.be.at.most(limitMs + GRACE_MS);
          }
          for (const node of world.nodes) expect(node.context.inFlight.count, "in flight").to.be.below(200);
        }
      }
    });
  }

  it("counts from when the request came, also where that waits for its key first", async () => {
    for (const at of [1, 4]) {
      const world = await RingWorld.start({ nodes: 5, settings: { requestTimeoutMs: TIMEOUT_MS } });
      const key = world.key(1, 2, 3);
      await world.run(world.client(1, "ALL").set(key, "1"));
      for (const number of [2, 3, 5]) world.freeze(number);
      // What holds the key's turn until its own deadline.
      const first = world.timeOf(world.client(at, "STRICT").incr(key));
      await world.pass(TIMEOUT_MS / 2);
      const waiting = REQUESTS.slice(0, 6).map(([, run]) => world.timeOf(run(world.client(at, "STRICT"), key)));
      for (const time of await Promise.all([first, ...waiting])) expect(time).to.be.at.most(TIMEOUT_MS + GRACE_MS);
    }
  });

  it("holds for a write that has waited for its disk before it waits for others", async () => {
    const world = await RingWorld.start({ nodes: 3, settings: { requestTimeoutMs: TIMEOUT_MS } });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "1"));
    for (const number of [2, 3]) world.freeze(number);
    world.node(1).store.coldness = 1;
    world.node(1).store.readMsMax = TIMEOUT_MS;
    const times: number[] = [];
    for (let round = 0; round < 8; round++) times.push(await world.timeOf(world.client(1).set(world.key(1), "w")));
    for (let round = 0; round < 8; round++) times.push(await world.timeOf(world.client(1).set(key, "w")));
    expect(Math.max(...times)).to.be.at.most(TIMEOUT_MS + GRACE_MS);
  });

  for (const nodes of [1, 5]) {
    it(`holds for requests about all keys while this node's disk hangs, one of ${nodes}`, async () => {
      const world = await RingWorld.start({ nodes, settings: { requestTimeoutMs: TIMEOUT_MS } });
      const keys = Array.from({ length: 20 }, () => world.key());
      for (const key of keys) await world.run(world.client(1, "ALL").set(key, "1"));
      const slot = world.slotOf(keys[0]!);
      const { keyspace } = world.node(1);
      hang(world.node(1));
      for (const words of ["", "ONE"]) {
        const { scope } = world.client(1, words);
        const requests: (() => Promise<unknown>)[] = [
          async () => {
            const found: string[] = [];
            let page = await keyspace.scan(scope, 0n, 100);
            for (; page.cursor !== 0n; page = await keyspace.scan(scope, page.cursor, 100)) found.push(...page.keys);
            return found.length + page.keys.length;
          },
          async () => keys.includes((await keyspace.randomKey(scope))!),
          () => keyspace.keysInSlot(scope, slot, 10),
          () => keyspace.readTotal(scope),
        ];
        const expected = [20, true, [keys[0]], 20];
        for (const [at, request] of requests.entries()) {
          const outcome = request().catch((error: OperatingError) => error.code);
          expect(await world.timeOf(outcome), `${words} ${at}`).to.be.at.most(TIMEOUT_MS + GRACE_MS);
          // The counts are in memory; nobody else has the keys of a ring of one.
          if (nodes === 1 && at < 3) expect(await outcome).to.equal("TIMEOUT");
          else expect(await outcome).to.deep.equal(expected[at]);
        }
      }
    });
  }

  it("that passed without a change leaves none, whatever wakes later", async () => {
    const world = await RingWorld.start({ nodes: 5, settings: { requestTimeoutMs: TIMEOUT_MS } });
    const key = world.key(1, 2, 3);
    mintAt(world, 1, key, "old");
    for (const node of world.nodes) hang(node);
    for (const node of world.nodes) node.store.readMsMax = 3 * TIMEOUT_MS;
    const works = ["a", "b"].map((value, at) => world.client(at + 1).set(key, value));
    const outcomes = await world.run(Promise.allSettled(works));
    await world.pass(10_000);
    for (const node of world.nodes) node.store.coldness = 0;
    const values = await world.run(world.client(5, "ALL").values(key));
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.status === "rejected" && String(outcome.reason).includes("nothing was changed")) {
        expect(values).to.not.include(["a", "b"][at]);
      }
    }
  });
});
