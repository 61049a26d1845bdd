import { expect } from "chai";
import type { Deadline } from "../../lib/coordinator/deadline.js";
import type { Scope } from "../../lib/coordinator/keyspace.js";
import type { QuorumNeeds } from "../../lib/coordinator/quorum-needs.js";
import { Refreshes } from "../../lib/coordinator/refreshes.js";
import type { SlotPlan } from "../../lib/coordinator/slot-plan.js";
import { OperatingError } from "../../lib/errors.js";
import { consistencyOf } from "./ring-client.js";

const DEADLINE = {} as Deadline;
const QUORUM: Scope = { database: 0, consistency: consistencyOf("QUORUM"), hold: null };
const ALL: Scope = { database: 0, consistency: consistencyOf("ALL"), hold: null };

describe("what decisions read first", () => {
  let reads: { resolve: () => void; reject: (error: Error) => void }[];
  let needs: Map<string, QuorumNeeds>;
  let refreshes: Refreshes;

  beforeEach(() => {
    reads = [];
    needs = new Map();
    const needsOfDecision = (quorum: unknown): QuorumNeeds => {
      const key = JSON.stringify(quorum);
      if (!needs.has(key)) needs.set(key, { groups: [], counts: "all", centres: [], reads: [], writes: [] });
      return needs.get(key)!;
    };
    refreshes = new Refreshes({
      planOf: () => ({ needsOfDecision }) as unknown as SlotPlan,
      refresh: () => new Promise((resolve, reject) => reads.push({ resolve, reject })),
    });
  });

  it("is read once for all who came before the read began, and anew for who came later", async () => {
    const [first, second] = [refreshes.ask(QUORUM, "key"), refreshes.ask(QUORUM, "key")];
    const done = first.done(DEADLINE);
    const late = refreshes.ask(QUORUM, "key");
    reads[0]!.resolve();
    await done;
    first.end();
    await second.done(DEADLINE);
    second.end();
    expect(reads).to.have.length(1);
    const lateDone = late.done(DEADLINE);
    expect(reads, "it may have been acknowledged after the first read").to.have.length(2);
    reads[1]!.resolve();
    await lateDone;
    late.end();
  });

  it("is not shared with another key, another level, or after another ring", async () => {
    const all = [refreshes.ask(QUORUM, "key"), refreshes.ask(ALL, "key"), refreshes.ask(QUORUM, "other")];
    const last = refreshes.ask(QUORUM, "key");
    for (const [at, refresh] of all.entries()) {
      const done = refresh.done(DEADLINE);
      reads[at]!.resolve();
      await done;
    }
    expect(reads).to.have.length(3);
    needs.clear();
    void last.done(DEADLINE);
    expect(reads).to.have.length(4);
  });

  it("shows nothing of what was decided elsewhere since, in a turn that the key had here", async () => {
    const [first, second] = [refreshes.ask(QUORUM, "key"), refreshes.ask(QUORUM, "key")];
    const done = first.done(DEADLINE);
    reads[0]!.resolve();
    await done;
    first.end();
    refreshes.forget("other");
    refreshes.forget("key");
    void second.done(DEADLINE);
    expect(reads).to.have.length(2);
  });

  it("that failed is nobody else's", async () => {
    const [first, second] = [refreshes.ask(QUORUM, "key"), refreshes.ask(QUORUM, "key")];
    const done = first.done(DEADLINE);
    reads[0]!.reject(new OperatingError("QUORUM", "read reached 1 of 2 replicas"));
    expect(await done.catch((error: unknown) => (error as OperatingError).code)).to.equal("QUORUM");
    void second.done(DEADLINE);
    expect(reads).to.have.length(2);
  });

  it("is forgotten when nobody waits any more", async () => {
    const first = refreshes.ask(QUORUM, "key");
    const done = first.done(DEADLINE);
    reads[0]!.resolve();
    await done;
    first.end();
    void refreshes.ask(QUORUM, "key").done(DEADLINE);
    expect(reads).to.have.length(2);
  });
});
