/** Requests of members that come damaged, at a node with all that answers them: they are refused, or read as something else. */
import { expect } from "chai";
import fc from "fast-check";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { encodeWrite, ForwardKind } from "../../lib/coordinator/forward-messages.js";
import { PeerCallError } from "../../lib/peer/peer.js";
import { BatchBytes } from "../../lib/replica/call-batch.js";
import { encodedRecordOf } from "../../lib/replica/encoded-record.js";
import { ReplicaKind, readBytesMax, storeBytesMax, writeRead, writeStore } from "../../lib/replica/replica-messages.js";
import { recordOf } from "../replica/copies.js";
import { damage } from "../replica/damage.js";
import { RingWorld } from "./ring-world.js";

describe("a damaged request", () => {
  it("is refused or does something else, and the node lives on", async function () {
    this.timeout(60_000);
    const world = await RingWorld.start({ nodes: 4, settings: { requestTimeoutMs: 100 } });
    const [sender, receiver] = [world.node(1), world.node(2)];
    const owned = world.dataKey(world.key(2, 3, 4));
    const foreign = world.dataKey(world.key(3, 4, 1));
    const store = (dataKey: string, hintFor: string | null): Buffer => {
      const record = recordOf("s", 5, "a value", { t: 3 });
      const bytes = Buffer.alloc(storeBytesMax(dataKey, record.length));
      return bytes.subarray(0, writeStore(bytes, 0, { ringVersion: 1, hintFor, dataKey }, encodedRecordOf(record)));
    };
    const read = Buffer.alloc(readBytesMax(owned));
    writeRead(read, 0, { ringVersion: 1, dataKey: owned, from: "hints too" });
    const batch = new BatchBytes();
    for (const [kind, bytes] of [[ReplicaKind.store, store(owned, null)] as const, [ReplicaKind.read, read] as const]) {
      const start = batch.begin(bytes.length);
      bytes.copy(batch.bytes, start);
      batch.end(kind, start + bytes.length);
    }
    const written = {
      ringVersion: 1,
      spareMs: 0,
      stamp: 5,
      consistency: { quorum: { kind: "level", level: "ONE" }, standIns: "sloppy", conflicts: "newest" },
      covered: { kind: "all", seen: VersionVector.EMPTY },
      value: Buffer.from("v"),
      expiryMs: 90,
      writeId: "a write",
    } as const;
    const requests: readonly (readonly [number, Buffer])[] = [
      [ReplicaKind.store, store(owned, null)],
      [ReplicaKind.store, store(owned, world.idOf(3))],
      [ReplicaKind.handover, store(owned, null)],
      [ReplicaKind.read, read],
      [ReplicaKind.batch, Buffer.from(batch.view())],
      [ForwardKind.write, encodeWrite({ ...written, dataKey: owned, isForStandIn: false })],
      [ForwardKind.write, encodeWrite({ ...written, dataKey: foreign, isForStandIn: true })],
    ];
    for (const [which, damaged] of fc.sample(fc.tuple(fc.nat(requests.length - 1), damage), { numRuns: 3_000, seed: 1 })) {
      const [kind, whole] = requests[which]!;
      const deadlineMs = sender.clock.monotonicMs() + 100;
      const call = sender.peers.call({ to: receiver.id, kind, payload: damaged(whole), deadlineMs });
      const outcome = call.then(
        () => null,
        (error: unknown) => error,
      );
      const failure = await world.run(outcome);
      if (failure !== null && !(failure instanceof PeerCallError)) throw failure;
    }
    await world.pass(10_000);
    const key = world.key(2, 3, 4);
    await world.run(world.client(2, "ALL").set(key, "v"));
    expect(await world.run(world.client(1, "ALL").get(key))).to.equal("v");
  });
});
