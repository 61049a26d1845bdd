/** Transactions on several nodes that hold each other's keys. */
import { expect } from "chai";
import { slotOf } from "../../lib/bytes/slot.js";
import { clientPort } from "../sim/cluster/node-flags.js";
import type { WireReply } from "../sim/cluster/sim-client.js";
import { named, Ring } from "./ring-clients.js";

/** A silent owner is done without after a quarter of a second, and each of two keys may be waited for. */
const MS_MAX = 800;

describe("two EXECs that each hold a key that the other writes", () => {
  let ring: Ring;
  afterEach(() => ring?.world.close());

  it("wait for each other no longer than until another owner is asked, whatever they do, in whatever order", async () => {
    ring = await Ring.start({ nodes: 5, seed: 41 });
    const { world } = ring;
    const ranges = (await ring.ask(0, "CLUSTER", "SLOTS")) as [number, number, ...[string, number][]][];
    /** A key that is decided on by the one and of which the other has no copy. */
    const keyOf = (node: number, without: number): string =>
      named(500, "key").find((key) => {
        const slot = slotOf(Buffer.from(key));
        const range = ranges.find(([first, last]) => first <= slot && slot <= last)!;
        const ports = range.slice(2).map((owner) => (owner as [string, number])[1]);
        return ports[0] === clientPort(node) && !ports.includes(clientPort(without));
      })!;
    const [x, y] = [keyOf(0, 2), keyOf(2, 0)];
    const transaction = async (node: number, command: string, keys: readonly string[]): Promise<WireReply> => {
      void ring.send(node, "MULTI");
      for (const key of keys) void ring.send(node, command, key, ...(command === "INCR" ? [] : ["1"]));
      return ring.send(node, "EXEC");
    };
    for (const command of ["INCR", "SET", "SETNX", "APPEND"]) {
      for (const [one, other] of [
        [
          [x, y],
          [y, x],
        ],
        [
          [y, x],
          [x, y],
        ],
        [
          [x, y, x, y],
          [y, x, y, x],
        ],
        [
          [y, y, x],
          [x, x, y],
        ],
      ] as const) {
        for (const apartMs of [0, 0.3, 0.7, 1.5]) {
          const sinceMs = world.nowMs;
          const first = transaction(0, command, one);
          await world.pass(apartMs);
          const answers = await world.run(Promise.all([first, transaction(2, command, other)]));
          const what = `${command} ${one.join()} against ${other.join()}, ${apartMs} ms apart: ${JSON.stringify(answers)}`;
          expect(
            answers.flat().filter((answer) => answer instanceof Error || /QUORUM|TIMEOUT/.test(String(answer))),
            what,
          ).to.deep.equal([]);
          expect(world.nowMs - sinceMs, what).to.be.below(MS_MAX);
        }
      }
    }
  });
});
