import { expect } from "chai";
import { Enrolment, type EnrolmentOptions } from "../../lib/cluster/enrolment.js";
import { Ring } from "../../lib/cluster/ring.js";
import { completeChange, leaveChange, type MemberSelf, removeChange } from "../../lib/cluster/ring-changes.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import type { RingChange } from "../../lib/cluster/ring-proposer.js";
import { OperatingError } from "../../lib/errors.js";
import { silentLog } from "../../lib/log.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimRandom } from "../sim/sim-random.js";
import { documentOf, memberOf, numbered, ringOf, THREE } from "./members.js";

const [LEAVER, DEAD, ...OTHERS] = [1, 2, 3, 4, 5].map((number) => memberOf(number).id);

/** A document in the hands of one member: what others change of it is told to its enrolment. */
class Agreed {
  readonly clock = new SimClock();
  ring = new Ring(documentOf(ringOf(numbered(5), { seed: 1, vnodes: 16 })));
  enrolment: Enrolment | null = null;

  change(change: RingChange): RingDocument {
    const before = this.ring.document;
    const changed = change(before);
    if ("refused" in changed) throw new OperatingError("UNAVAILABLE", changed.refused);
    if (changed !== before) this.ring = new Ring({ ...changed, version: before.version + 1 });
    this.enrolment?.ringChanged();
    return this.ring.document;
  }

  enrol(
    parts: Pick<EnrolmentOptions, "teach" | "hasTakenIn" | "isReachable"> &
      Partial<Pick<EnrolmentOptions, "replaces" | "log" | "isLinked" | "change">>,
    number = 1,
  ): void {
    const { tokens: _, ...self } = memberOf(number);
    this.enrolment = new Enrolment({
      clock: this.clock,
      random: new SimRandom(1),
      log: silentLog,
      self: self satisfies MemberSelf,
      replicas: THREE,
      vnodes: 16,
      replaces: "",
      takesPlaceOf: null,
      mayChange: () => true,
      isLinked: () => true,
      protocolOf: () => 2,
      ring: () => this.ring,
      change: async (change) => ({ kind: "made", document: this.change(change) }),
      retire: async () => undefined,
      ...parts,
    });
    this.enrolment.ringChanged();
  }
}

describe("a member that drives a change", () => {
  it("begins anew where another change has come before it and is done, since its last look", async () => {
    const agreed = new Agreed();
    agreed.change(leaveChange(LEAVER!));
    const asked = new Set<string>();
    agreed.enrol({
      // Until it is known that one of those who are to be told is dead, the others have taken that one out.
      teach: async (id) => {
        if (id !== DEAD) return;
        if (agreed.ring.document.removed.includes(DEAD!)) throw new OperatingError("UNAVAILABLE", "it is gone");
        agreed.change(removeChange(DEAD!));
        agreed.change(completeChange(agreed.ring.document));
      },
      isReachable: (id) => id !== DEAD,
      hasTakenIn: async (id) => {
        asked.add(id);
        if (id === DEAD) throw new OperatingError("UNAVAILABLE", "the peer is not known");
        return true;
      },
    });
    await agreed.clock.advance(10_000);
    agreed.enrolment?.stop();
    expect(agreed.ring.document.removed).to.deep.equal([LEAVER, DEAD].sort());
    expect(agreed.ring.document.pending).to.deep.equal([]);
    expect([...asked]).to.include.members(OTHERS);
  });

  it("does not count who is gone for good where it waits for a majority to know of the change", async () => {
    for (const replicas of [1, 2, 3]) {
      const agreed = new Agreed();
      agreed.ring = new Ring({ ...agreed.ring.document, replicas: { default: replicas, dcs: [] } });
      agreed.change(removeChange(DEAD!));
      agreed.enrol({ teach: async () => undefined, isReachable: (id) => id !== DEAD, hasTakenIn: async () => true });
      await agreed.clock.advance(20_000);
      agreed.enrolment?.stop();
      expect(agreed.ring.document.removed, `${replicas} copies`).to.deep.equal([DEAD]);
    }
  });

  it("says that it replaces nobody where it is a member already", async () => {
    const agreed = new Agreed();
    const warnings: string[] = [];
    const log = { ...silentLog, warn: (_: object, message: string) => void warnings.push(message) };
    const [self, other] = agreed.ring.document.members;
    const parts = { teach: async () => undefined, hasTakenIn: async () => true, isReachable: () => true, log };
    for (const replaces of [other!.name, other!.id, self!.name, "nobody", ""]) {
      agreed.enrol({ ...parts, replaces }, 1);
      agreed.enrolment?.ringChanged();
      agreed.enrolment?.stop();
    }
    expect(warnings).to.have.length(2);
    expect(warnings[0]).to.match(/^--replace is ignored: this node is a member/);
  });

  it("asks to join once all that seem to be there have links with it, or do not get any for a while", async () => {
    for (const [linkedMs, joinsMs] of [
      [400, 400],
      [60_000, 3_000],
    ] as const) {
      const agreed = new Agreed();
      const { clock } = agreed;
      agreed.enrol(
        {
          teach: async () => undefined,
          hasTakenIn: async () => true,
          isReachable: (id) => id !== DEAD,
          isLinked: (id) => id !== DEAD && (id !== LEAVER || clock.monotonicMs() >= linkedMs),
        },
        9,
      );
      const isJoining = (): boolean => agreed.ring.document.version > 1;
      await clock.advance(joinsMs - 100);
      expect(isJoining()).to.equal(false);
      await clock.advance(200);
      expect(isJoining()).to.equal(true);
      agreed.enrolment?.stop();
    }
  });

  it("finds out whether a change was decided whose driver is gone, where it is the first that is up", async () => {
    for (const [number, asks] of [
      [1, true],
      [3, false],
    ] as const) {
      const agreed = new Agreed();
      agreed.change(leaveChange(DEAD!));
      const parts = { teach: async () => undefined, hasTakenIn: async () => true, isReachable: (id: string) => id !== DEAD };
      // Votes had decided it already.
      const change = async () => ({ kind: "made" as const, document: agreed.change(completeChange(agreed.ring.document)) });
      agreed.enrol({ ...parts, change }, number);
      await agreed.clock.advance(4_900);
      expect(agreed.ring.document.removed).to.deep.equal([]);
      await agreed.clock.advance(200);
      agreed.enrolment?.stop();
      expect(agreed.ring.document.removed).to.deep.equal(asks ? [DEAD] : []);
    }
  });

  it("replaces a member only once that is down", async () => {
    const agreed = new Agreed();
    const isDown = new Set<string>();
    const old = agreed.ring.document.members[1]!;
    const teach = async (): Promise<void> => {};
    const parts = { teach, hasTakenIn: async () => true, isReachable: (id: string) => !isDown.has(id), replaces: old.name };
    agreed.enrol(parts, 9);
    await agreed.clock.advance(20_000);
    expect(agreed.ring.document.removed).to.deep.equal([]);
    isDown.add(old.id);
    await agreed.clock.advance(30_000);
    agreed.enrolment?.stop();
    expect(agreed.ring.document.removed).to.deep.equal([old.id]);
    expect(agreed.ring.document.members.map(({ id }) => id)).to.include(memberOf(9).id);
  });
});
