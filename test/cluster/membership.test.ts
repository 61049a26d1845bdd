import { expect } from "chai";
import fc from "fast-check";
import { decodeGossip, encodeGossip, MESSAGE_BYTES_MAX } from "../../lib/cluster/gossip-messages.js";
import { CONTENTS_BYTES_MAX, decodeContents, encodeContents, type MemberStamp } from "../../lib/cluster/member-entry.js";
import { Membership, type PackedEntry } from "../../lib/cluster/membership.js";
import { Rows } from "../../lib/cluster/membership-rows.js";
import { OperatingError } from "../../lib/errors.js";
import { contentsOf, idOf } from "./gossip-world.js";

function membershipOf(member: number, generation = 10): Membership {
  return new Membership({ id: idOf(member), generation, heartbeat: 1, changed: 1, contents: contentsOf(member) }, 0);
}

/** The entry of one stamp: its contents are a function of generation and `changed`, as with a true owner. */
function entryOf(member: number, generation: number, heartbeat: number, changed: number): PackedEntry {
  const name = `${generation}/${changed}`;
  return {
    stamp: { id: idOf(member), generation, heartbeat, changed },
    contents: encodeContents({ ...contentsOf(member), name }),
  };
}

const anyEntry = fc
  .record({
    member: fc.integer({ min: 1, max: 4 }),
    generation: fc.integer({ min: 1, max: 3 }),
    heartbeat: fc.integer({ min: 1, max: 9 }),
  })
  .map(({ member, generation, heartbeat }) => entryOf(member, generation, heartbeat, Math.ceil(heartbeat / 3) * 3 - 2));

function stateOf(membership: Membership): string {
  const plain = membership.members.map(({ id, generation, heartbeat, changed, contents }) => [
    id,
    generation,
    heartbeat,
    changed,
    contents.name,
  ]);
  return JSON.stringify(plain);
}

/** One whole exchange, through bytes. */
function exchange(asker: Membership, other: Membership): void {
  const header = { sender: asker.selfId, ringVersion: 3 };
  for (let page = 0; page < asker.pages; page++) {
    const digest = decodeGossip(encodeGossip(header, { kind: "digest", page: asker.digest(page) })).body;
    if (digest.kind !== "digest") throw new Error("no digest");
    const reply = decodeGossip(encodeGossip(header, { kind: "answer", answer: other.answer(digest.page, 5) })).body;
    if (reply.kind !== "answer") throw new Error("no answer");
    asker.mergeRows(reply.answer.rows, 5);
    asker.mergeEntries(reply.answer.entries, 5);
    other.mergeEntries(asker.entriesOf(reply.answer.wanted), 5);
  }
}

describe("membership", () => {
  it("merging is a matter of what came, not of order or number", () => {
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 12 }), fc.integer({ min: 0, max: 11 }), (entries, cut) => {
        const one = membershipOf(0);
        const two = membershipOf(0);
        one.mergeEntries(entries, 1);
        two.mergeEntries([...entries].reverse(), 1);
        two.mergeEntries(entries.slice(cut), 1);
        expect(stateOf(one)).to.equal(stateOf(two));
      }),
    );
  });

  it("an exchange leaves both with the newer of each", () => {
    fc.assert(
      fc.property(fc.array(anyEntry, { maxLength: 12 }), fc.array(anyEntry, { maxLength: 12 }), (left, right) => {
        const [a, b, both] = [membershipOf(0), membershipOf(7), membershipOf(0)];
        a.mergeEntries(left, 1);
        b.mergeEntries(right, 1);
        both.mergeEntries([...left, ...right, ...b.entriesOf([idOf(7)])], 1);
        exchange(a, b);
        // What came as a heartbeat alone, of contents that changed meanwhile, comes with the next one.
        exchange(a, b);
        expect(stateOf(a)).to.equal(stateOf(both));
        expect(stateOf(b)).to.equal(stateOf(both));
      }),
    );
  });

  it("reports who joined, restarted and changed, and not who merely lives", () => {
    const membership = membershipOf(0);
    const kinds = (entry: PackedEntry) => {
      membership.mergeEntries([entry], 2);
      return membership.takeMerged().changes.map(({ kind }) => kind);
    };
    expect(kinds(entryOf(1, 5, 1, 1))).to.deep.equal(["joined"]);
    expect(kinds(entryOf(1, 5, 2, 1))).to.deep.equal([]);
    expect(kinds(entryOf(1, 5, 3, 3))).to.deep.equal(["updated"]);
    expect(kinds(entryOf(1, 4, 9, 9))).to.deep.equal([]);
    expect(kinds(entryOf(1, 6, 1, 1))).to.deep.equal(["restarted"]);
    expect(membership.get(idOf(1))!.generation).to.equal(6);
  });

  it("an entry of ourselves that is newer than ours demands a generation above it, and changes nothing", () => {
    const membership = membershipOf(0, 10);
    membership.mergeEntries([entryOf(0, 12, 1, 1)], 2);
    expect(membership.takeMerged().generationAbove).to.equal(12);
    expect(membership.self.generation).to.equal(10);
    membership.restart(13, 3);
    membership.mergeEntries([entryOf(0, 12, 50, 1)], 4);
    expect(membership.takeMerged().generationAbove).to.equal(null);
  });

  it("a removed id is refused for ever", () => {
    const membership = membershipOf(0);
    membership.mergeEntries([entryOf(1, 5, 1, 1), entryOf(2, 5, 1, 1)], 2);
    expect(membership.remove([idOf(1), idOf(3)]).map(({ member }) => member.id)).to.deep.equal([idOf(1)]);
    membership.mergeEntries([entryOf(1, 6, 1, 1), entryOf(3, 6, 1, 1)], 2);
    expect(membership.members.map(({ id }) => id)).to.deep.equal([idOf(0), idOf(2)]);
    const other = membershipOf(1);
    const answer = membership.answer(other.digest(0), 3);
    expect(answer.wanted).to.deep.equal([]);
  });

  it("a thousand members travel in pages and bounded messages", () => {
    const full = membershipOf(0);
    full.mergeEntries(
      Array.from({ length: 1_000 }, (_, index) => entryOf(index + 1, 5, 2, 1)),
      1,
    );
    expect(full.pages).to.equal(2);
    const fresh = membershipOf(2_000);
    let rounds = 0;
    for (; fresh.size < 1_002; rounds++) exchange(fresh, full);
    expect(rounds).to.be.below(20);
    exchange(full, fresh);
    expect(stateOf(full)).to.equal(stateOf(fresh));
  });
});

describe("member entries and gossip messages", () => {
  it("keep what a later version wrote", () => {
    const unknown = [{ tag: 40, bytes: Buffer.from("later") }];
    const contents = { ...contentsOf(3), suspects: [idOf(1), idOf(2)], unknown };
    expect(decodeContents(encodeContents(contents))).to.deep.equal(contents);
  });

  it("tell load, of which earlier versions wrote and read less", () => {
    const load = { requestsPerSecond: 300, storedBytes: 1, waitingHints: 2, busyPermille: 0, diskFreeBytes: 2 ** 40 };
    const told = { ...contentsOf(3), load };
    expect(decodeContents(encodeContents(told)).load).to.deep.equal(load);
    const untold = { ...load, busyPermille: null, diskFreeBytes: null };
    expect(decodeContents(encodeContents({ ...told, load: untold })).load).to.deep.equal(untold);
    // As they wrote it: an address, and three figures.
    const earlier = Buffer.from("020503612e6201" + "0404ac020102", "hex");
    expect(decodeContents(earlier).load).to.deep.equal(untold);
    const later = Buffer.from("020503612e6201" + "0408ac02010203040506", "hex");
    expect(decodeContents(later).load).to.deep.equal({ ...load, busyPermille: 2, diskFreeBytes: 3 });
  });

  it("have the bytes that docs/FORMATS.md gives", () => {
    const header = { sender: idOf(0), ringVersion: 300 };
    expect(encodeGossip(header, { kind: "nod" }).toString("hex")).to.equal("01040000000000000001ac0200");
    const stamp: MemberStamp = { id: idOf(1), generation: 2 ** 40 + 5, heartbeat: 258, changed: 7 };
    const rows = new Rows(Buffer.alloc(22));
    rows.set(0, stamp);
    expect(rows.bytes.toString("hex")).to.equal("00000000000000020100000000050000010200000007");
    expect(rows.stampAt(0)).to.deep.equal(stamp);
    expect(encodeContents({ ...contentsOf(0), name: "a" }).toString("hex")).to.match(/^01020161020a0831302e302e302e3101/);
  });

  it("refuse damaged bytes with CORRUPT, whatever they are", () => {
    const a = membershipOf(0);
    a.mergeEntries([entryOf(1, 5, 2, 1), entryOf(2, 5, 2, 2)], 1);
    const header = { sender: idOf(0), ringVersion: 1 };
    const message = encodeGossip(header, { kind: "answer", answer: a.answer(membershipOf(5).digest(0), 1) });
    const digest = encodeGossip(header, { kind: "digest", page: a.digest(0) });
    const contents = encodeContents(contentsOf(1));
    const survive = (read: () => void) => {
      try {
        read();
      } catch (error) {
        expect(error).to.be.instanceOf(OperatingError);
        expect((error as OperatingError).code).to.equal("CORRUPT");
      }
    };
    const damage = fc.record({ at: fc.nat(), byte: fc.integer({ min: 0, max: 255 }), cut: fc.nat(3) });
    fc.assert(
      fc.property(fc.constantFrom(message, digest, contents), fc.array(damage, { maxLength: 4 }), (bytes, damages) => {
        let damaged = Buffer.from(bytes);
        for (const { at, byte, cut } of damages) {
          damaged[at % damaged.length] = byte;
          damaged = damaged.subarray(0, Math.max(1, damaged.length - cut));
        }
        survive(() => decodeContents(damaged));
        survive(() => {
          const { body } = decodeGossip(damaged);
          const reader = membershipOf(6);
          if (body.kind === "digest") reader.answer(body.page, 1);
          if (body.kind === "answer") {
            reader.mergeRows(body.answer.rows, 1);
            reader.mergeEntries(body.answer.entries, 1);
          }
        });
      }),
      { numRuns: 2_000 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => survive(() => decodeGossip(Buffer.from(bytes)))));
    survive(() => decodeContents(Buffer.alloc(CONTENTS_BYTES_MAX + 1)));
    survive(() => decodeGossip(Buffer.alloc(MESSAGE_BYTES_MAX + 1)));
  });
});
