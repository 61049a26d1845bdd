import { expect } from "chai";
import { RecordName } from "../../lib/cluster/records.js";
import { encodeReunion, Reunion } from "../../lib/cluster/reunion.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import { silentLog } from "../../lib/log.js";

function ringOf(...names: readonly string[]): RingDocument {
  return { members: names.map((name) => ({ id: name.repeat(16), name: `node-${name}` })) } as unknown as RingDocument;
}

function reunionOf(records: Map<string, Buffer>): Reunion {
  const kept = {
    get: (name: string) => records.get(name) ?? null,
    putNow: (name: string, bytes: Buffer) => void records.set(name, bytes),
  };
  return new Reunion({ records: kept, selfId: "a".repeat(16), log: silentLog });
}

describe("a cluster that was restored as a whole", () => {
  it("lets a member vote once it has heard of all that the newest ring names, for good", () => {
    const records = new Map([[RecordName.reunion as string, encodeReunion({ isOver: false, without: [] })]]);
    const reunion = reunionOf(records);
    reunion.look(ringOf("a", "b", "c"));
    reunion.heard("b".repeat(16), ringOf("a", "b", "c", "d"));
    reunion.heard("c".repeat(16), ringOf("a", "b", "c", "d"));
    expect(reunion.mayVote).to.equal(false);
    expect(reunion.awaited).to.deep.equal(["node-d"]);
    expect(reunionOf(records).mayVote, "after a restart").to.equal(false);
    expect(reunion.heard("d".repeat(16), ringOf("a", "b", "c", "d"))).to.equal(true);
    expect(reunion.awaited).to.deep.equal([]);
    expect(reunion.mayVote).to.equal(true);
    expect(reunionOf(records).mayVote, "after a restart").to.equal(true);
  });

  it("does not wait for who is known not to come back", () => {
    const records = new Map([[RecordName.reunion as string, encodeReunion({ isOver: false, without: ["node-c", "node-d"] })]]);
    const reunion = reunionOf(records);
    reunion.heard("b".repeat(16), ringOf("a", "b", "c", "d"));
    expect(reunion.mayVote).to.equal(true);
  });

  it("is nothing that other members know", () => {
    expect(reunionOf(new Map()).mayVote).to.equal(true);
  });
});
