/** Commands about all keys of a database, from any node of a ring of simulated machines. */
import { expect } from "chai";
import { slotOf } from "../../lib/bytes/slot.js";
import { nodeName } from "../sim/cluster/node-flags.js";
import type { WireReply } from "../sim/cluster/sim-client.js";
import { named, Ring } from "./ring-clients.js";

describe("the keys of a whole ring", () => {
  let ring: Ring;

  afterEach(() => ring?.world.close());

  /** Five members and N=3, so that no member has a copy of every key. */
  async function five(): Promise<Ring> {
    ring = await Ring.start({ nodes: 5, seed: 3 });
    return ring;
  }

  it("are counted and listed the same from every node", async () => {
    await five();
    const keys = named(300);
    await ring.fill(keys);
    await ring.ask(0, "DEL", "key:7");
    await ring.ask(1, "SET", "key:8", "x", "PX", "1");
    await ring.world.pass(500);
    const live = keys.filter((key) => key !== "key:7" && key !== "key:8");
    for (let node = 0; node < 5; node++) {
      expect(await ring.ask(node, "DBSIZE"), `size from ${node}`).to.equal(298);
      expect(await ring.ask(node, "KEYS", "*"), `keys from ${node}`).to.have.members(live);
      expect(await ring.ask(node, "KEYS", "key:1?")).to.have.members(named(20).slice(10));
      expect(await ring.world.run(ring.scan([node], ["COUNT", "50"]))).to.have.members(live);
    }
    expect(await ring.ask(0, "SCAN", "0", "TYPE", "list", "COUNT", "1000")).to.deep.equal(["0", []]);
  });

  it("are few in a page, and in another database only what is there", async () => {
    await five();
    await ring.fill(named(400));
    const [cursor, page] = (await ring.ask(2, "SCAN", "0")) as [string, string[]];
    expect(cursor).not.to.equal("0");
    expect(page).to.have.length(10);
    await ring.ask(1, "SELECT", "3");
    expect(await ring.ask(1, "DBSIZE")).to.equal(0);
    expect(await ring.ask(1, "SCAN", "0")).to.deep.equal(["0", []]);
    expect(await ring.ask(1, "RANDOMKEY")).to.equal(null);
    await ring.ask(1, "SET", "lone", "x");
    expect(await ring.ask(1, "SCAN", "0")).to.deep.equal(["0", ["lone"]]);
    expect(await ring.ask(1, "RANDOMKEY")).to.equal("lone");
    expect(await ring.ask(2, "DBSIZE")).to.equal(400);
  });

  it("of one slot are told by a node that owns it, and by one that does not", async () => {
    await five();
    const keys = named(30, "{slot}");
    await ring.fill([...keys, ...named(50)]);
    const slot = String(slotOf(Buffer.from("{slot}")));
    for (let node = 0; node < 5; node++) {
      expect(await ring.ask(node, "CLUSTER", "COUNTKEYSINSLOT", slot)).to.equal(30);
      expect(await ring.ask(node, "CLUSTER", "GETKEYSINSLOT", slot, "100")).to.have.members(keys);
      expect(await ring.ask(node, "CLUSTER", "GETKEYSINSLOT", slot, "7")).to.have.length(7);
    }
  });

  it("are drawn at random from all of them", async () => {
    await five();
    const keys = [...named(12), ...named(4, "{slot}")];
    await ring.fill(keys);
    const drawn = new Map<string, number>();
    for (let at = 0; at < 320; at++) {
      const key = (await ring.ask(at % 5, "RANDOMKEY")) as string;
      drawn.set(key, (drawn.get(key) ?? 0) + 1);
    }
    expect([...drawn.keys()]).to.have.members(keys);
    // 20 of each are expected; a fair draw of 320 stays within these bounds but once in thousands of seeds.
    for (const [key, times] of drawn) expect(times, key).to.be.within(5, 40);
  });

  it("that stay are all in a scan from node to node, while others come, go and change, and a node dies", async () => {
    await five();
    const { world } = ring;
    const stay = named(500, "stay");
    const gone = named(300, "gone");
    await ring.fill([...stay, ...gone]);
    const writes: Promise<WireReply>[] = [];
    const disturb = (page: number): void => {
      if (page === 8) ring.kill(4);
      for (let at = 0; at < 6; at++) {
        const node = (page + at) % 4;
        writes.push(ring.send(node, "SET", stay[(page * 37 + at * 11) % stay.length]!, `page ${page}`));
        writes.push(ring.send(node, "SET", `new:${page}:${at}`, "x"));
        writes.push(ring.send(node, "DEL", gone[(page * 6 + at) % gone.length]!));
      }
    };
    const found = new Set(await world.run(ring.scan([0, 1, 2, 3], ["COUNT", "20"], disturb)));
    // Writes through the node that died may fail; those through others were all taken.
    await world.run(Promise.all(writes));
    expect(stay.filter((key) => !found.has(key))).to.deep.equal([]);
  });

  it("that a node missed while it was away are listed by that node, too", async () => {
    ring = await Ring.start({ seed: 5, settings: { "hints-max-bytes": "0" } });
    const { world } = ring;
    await ring.fill(named(20, "old"));
    ring.kill(2);
    await world.pass(100);
    const missed = named(60, "missed");
    await world.run(Promise.all(missed.map((key) => ring.send(0, "SET", key, "x"))));
    await world.run(Promise.all(named(10, "old").map((key) => ring.send(0, "DEL", key))));
    const machine = world.node(nodeName(2));
    await world.bringUp(machine);
    await world.allJoined({ withinMs: 60_000 });
    const live = [...missed, ...named(20, "old").slice(10)];
    expect(await world.run(ring.scan([2], ["COUNT", "15"]))).to.have.members(live);
    // At ONE it is what that node itself has; the copies of another are whole.
    expect(await ring.ask(0, "CONSISTENCY", "ONE", "KEYS", "*")).to.have.members(live);
  });

  it("cannot be told when too few of their owners answer", async () => {
    ring = await Ring.start({ seed: 6 });
    await ring.fill(named(20));
    ring.kill(1);
    await ring.world.pass(100);
    expect(await ring.ask(0, "KEYS", "*")).to.have.length(20);
    expect(await ring.ask(0, "DBSIZE")).to.equal(20);
    ring.kill(2);
    await ring.world.pass(100);
    const failure = await ring.ask(0, "SCAN", "0").catch((error: Error) => error.message);
    expect(failure).to.equal("QUORUM scan reached 1 of 2 replicas of some keys");
    expect(await ring.ask(0, "CONSISTENCY", "ONE", "KEYS", "*")).to.have.length(20);
    expect(await ring.ask(0, "DBSIZE")).to.equal(20);
  });

  it("are told soon although a node is silent", async () => {
    await five();
    await ring.fill(named(200));
    ring.world.node(nodeName(3)).freeze();
    for (let node = 0; node < 3; node++) {
      const startedMs = ring.world.nowMs;
      expect(await ring.ask(node, "KEYS", "*")).to.have.length(200);
      expect(ring.world.nowMs - startedMs).to.be.below(700);
    }
  });
});
