/**
 * Brings this member and the ring document together: joins the ring, keeps right what the document says of this member, and drives
 * the change that is under way where that is its part. What is next is decided in ring-changes.ts; this is the time, the messages
 * and the retries. It runs while there is something to do, and again when a newer document says so. A restart goes on where the
 * stored document stands.
 */
import { assert, unreachable } from "../assert.js";
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import { obstaclesOf, slotsTooThin } from "./change-obstacles.js";
import { type MemberId, membersCalled } from "./member.js";
import type { ReplicaCounts } from "./preference-table.js";
import { Rest } from "./rest.js";
import type { Ring } from "./ring.js";
import {
  completeChange,
  correctChange,
  driverOf,
  isStillPrepared,
  isTooOld,
  joinChange,
  type MemberSelf,
  type NextStep,
  nextStep,
  replaceChange,
} from "./ring-changes.js";
import { comingMember, goingMember, isForced, type PendingChange, type RingDocument } from "./ring-document.js";
import type { ChangeOutcome } from "./ring-keeper.js";
import type { RingChange } from "./ring-proposer.js";

export interface EnrolmentOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly self: MemberSelf;
  readonly replicas: ReplicaCounts;
  readonly vnodes: number;
  /** Joins in the place of this member; empty: beside all. */
  readonly replaces: string;
  /** The store was restored in the place of this member, which must be down; null: it was not. */
  readonly takesPlaceOf: MemberId | null;
  /** False while nothing may be asked of the ring: `ringChanged` is called when it is true. */
  readonly mayChange: () => boolean;
  /** The newest ring known here. */
  readonly ring: () => Ring;
  readonly change: (change: RingChange, deadlineMs: number) => Promise<ChangeOutcome>;
  /** Resolves when the other member has this document, or a newer one, on its disk. Rejects with an `OperatingError`. */
  readonly teach: (to: MemberId, document: RingDocument, deadlineMs: number) => Promise<void>;
  /** Whether an answer may be hoped for. */
  readonly isReachable: (id: MemberId) => boolean;
  /** There is a link to it, and one from it. */
  readonly isLinked: (id: MemberId) => boolean;
  /** The highest protocol version that a member speaks; null where nothing was heard of it. */
  readonly protocolOf: (id: MemberId) => number | null;
  /** See `ClusterOptions`. */
  readonly hasTakenIn: (member: MemberId, ring: Ring) => Promise<boolean>;
  readonly retire: (ring: Ring, missing: ReadonlySet<MemberId>) => Promise<void>;
}

type Work = Exclude<NextStep, "nothing" | "removed">;

const CHANGE_MS_MAX = 10_000;
const TEACH_MS_MAX = 2_000;
/** How long old owners that are reachable are waited for. Most know the document at once. */
const TEACHING_MS_MAX = 10_000;
const TEACHING_PAUSE_MS = 200;
/** A newer document ends the wait for those before us; this is for one that was missed. */
const WAIT_MS = 5_000;
/** How long those that seem to be there are waited for, until they and this member have links. */
const LINKED_MS_MAX = 3_000;
const LINKED_POLL_MS = 20;
/** Between two questions how far those are who gain slots, and until it is said who is waited for. */
const ASK_PAUSE_MS = 200;
const ASK_PAUSE_MS_MAX = 2_000;
const SAY_AFTER_MS = 10_000;
const PAUSE_MS_MIN = 500;
const PAUSE_MS_MAX = 15_000;

export class Enrolment {
  readonly #options: EnrolmentOptions;
  readonly #rest: Rest;
  #isRunning = false;
  #isStopped = false;
  #hasGivenAway = false;
  #said = "";
  #isFirst = true;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#rest = new Rest(options.clock);
  }

  /** There is a ring to be in, or a newer one. */
  ringChanged(): void {
    if (this.#isStopped) return;
    if (this.#isFirst) this.#sayWhatIsIgnored();
    this.#isFirst = false;
    if (this.#isRunning) this.#rest.wake();
    else if (!isDone(this.#next())) background(this.#run());
  }

  /** A store that has a member in it stays that one, whatever its flags say. */
  #sayWhatIsIgnored(): void {
    const { self, replaces, ring, log } = this.#options;
    const { members } = ring().document;
    const isThere = members.some(({ id }) => id === self.id);
    const other = membersCalled(members, replaces).find(({ id }) => id !== self.id);
    if (!isThere || other === undefined) return;
    const advice = "only one that starts with an empty data directory (--dir) takes another's place";
    log.warn({ replace: replaces }, `--replace is ignored: this node is a member of the ring already; ${advice}`);
  }

  /** This member leaves, and the others have all that it had. */
  get hasGivenAway(): boolean {
    return this.#hasGivenAway;
  }

  stop(): void {
    this.#isStopped = true;
    this.#rest.wake();
  }

  #next(): NextStep {
    if (!this.#options.mayChange()) return "nothing";
    const { self, replicas, ring, isReachable, protocolOf } = this.#options;
    // One of an earlier protocol cannot even read what it would have to drive.
    const isUp = (id: MemberId): boolean => id === self.id || (isReachable(id) && !isTooOld(protocolOf(id)));
    return nextStep(ring().document, { self, replicas, isUp });
  }

  async #run(): Promise<void> {
    const { log, random } = this.#options;
    this.#isRunning = true;
    let pauseMs = PAUSE_MS_MIN;
    for (let next = this.#next(); !isDone(next) && !this.#isStopped; next = this.#next()) {
      try {
        await this.#take(next);
        pauseMs = PAUSE_MS_MIN;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        if (this.#isStopped) break;
        log.warn({ code: error.code, step: next }, `${FAILED[next]}, and is tried again: ${messageOf(error)}`);
        await this.#rest.take(pauseMs * (0.5 + random.fraction()));
        pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
      }
    }
    this.#isRunning = false;
    if (this.#next() !== "removed") return;
    if (this.hasGivenAway) log.info({}, "this member has left its cluster");
    else log.error({}, "this member was removed from its cluster");
  }

  async #take(step: Work): Promise<void> {
    const { self, replicas, vnodes, random, log } = this.#options;
    switch (step) {
      case "ask": {
        await this.#untilLinked();
        const replaces = this.#replaced();
        if (replaces !== "") await this.#change(replaceChange({ self, replaces }));
        else await this.#change(joinChange({ self, vnodes, fraction: () => random.fraction() }));
        return;
      }
      case "wait":
        this.#sayWait();
        await this.#rest.take(WAIT_MS);
        return this.#lookAfterDriver();
      case "drive":
        return this.#drive();
      case "correct":
        await this.#change(correctChange({ self, replicas }));
        log.info({}, "the ring names this member as it is now");
        return;
      default:
        return unreachable(step);
    }
  }

  /** From the moment that the ring says so all write to this member, too: a write that needs it waits for no link then. */
  async #untilLinked(): Promise<void> {
    const { self, ring, clock, isReachable, isLinked } = this.#options;
    const untilMs = clock.monotonicMs() + LINKED_MS_MAX;
    const isMissing = ({ id }: { readonly id: MemberId }): boolean => id !== self.id && isReachable(id) && !isLinked(id);
    while (!this.#isStopped && clock.monotonicMs() < untilMs && ring().document.members.some(isMissing))
      await this.#rest.take(LINKED_POLL_MS);
  }

  /**
   * Where who drives the change that is under way is gone, the first of the others that is up finds out whether it was done all the
   * same: votes may have decided that, and nobody but the one that is gone know it.
   */
  async #lookAfterDriver(): Promise<void> {
    const { self, ring, isReachable } = this.#options;
    const { document } = ring();
    const isUp = (id: MemberId): boolean => id === self.id || isReachable(id);
    const driver = driverOf(document, isUp);
    if (this.#isStopped || driver === null || isUp(driver)) return;
    if (document.members.find(({ id }) => id !== driver && isUp(id))?.id !== self.id) return;
    await this.#change((base) => base);
  }

  /** By id or name; empty for none. Throws UNAVAILABLE where the member that is to be replaced is still there. */
  #replaced(): string {
    const { replaces, takesPlaceOf, ring, isReachable } = this.#options;
    const { members } = ring().document;
    if (replaces !== "") {
      const [named, ...more] = membersCalled(members, replaces);
      // Who is not known, or is one of several, is the members' to refuse.
      if (named === undefined || more.length > 0 || !isReachable(named.id)) return replaces;
      const other = "stop it first; one that runs may leave by itself (kindred leave), and this node join without --replace";
      throw new OperatingError("UNAVAILABLE", `${named.name}, which this node is to replace, is not down: ${other}`);
    }
    if (takesPlaceOf === null) return "";
    const old = members.find(({ id }) => id === takesPlaceOf);
    // It was removed or replaced meanwhile.
    if (old === undefined) return "";
    if (!isReachable(old.id)) return old.id;
    const advice = "stop that one; for a copy beside it restore the backup with --alone";
    throw new OperatingError(
      "UNAVAILABLE",
      `this store was restored from a backup of ${old.name}, which is not down: ${advice}`,
    );
  }

  async #drive(): Promise<void> {
    const { ring, self, log, clock, retire } = this.#options;
    const prepared = ring();
    const change = prepared.change!;
    const sinceMs = clock.monotonicMs();
    const what = describe(change, prepared);
    log.info({ version: prepared.document.version, slots: [...prepared.changingSlots()].length }, `${what}: slots move`);
    await this.#teachOwners(prepared);
    const missing = await this.#untilTakenIn(prepared, what);
    if (missing === null) return;
    if (missing.size > 0) log.warn({ missing: missing.size }, `${what}: without members that are down, as --force has it`);
    const isOwnLeave = change.kind === "leave" && change.memberId === self.id;
    if (isOwnLeave) await retire(prepared, missing);
    // The document that completes it is learnt, and acted on, before the change resolves.
    this.#hasGivenAway = isOwnLeave;
    await this.#change(completeChange(prepared.document)).catch((error: unknown) => {
      this.#hasGivenAway = false;
      throw error;
    });
    const tookMs = Math.round(clock.monotonicMs() - sinceMs);
    log.info({ version: ring().document.version, tookMs }, `${what}: done`);
  }

  /**
   * Resolves when all who gain slots hold what they are to own; with those that do not because they are down, where the change is
   * forced; with null when it is not under way any more, or gives others slots by now: another may have gone before it since the last
   * look.
   */
  async #untilTakenIn(prepared: Ring, what: string): Promise<ReadonlySet<MemberId> | null> {
    const { ring, clock, log, hasTakenIn } = this.#options;
    const waiting = new Map(prepared.gainers().map((index) => [prepared.members[index]!.id, prepared.members[index]!.name]));
    let sayMs = clock.monotonicMs() + SAY_AFTER_MS;
    for (let pauseMs = ASK_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, ASK_PAUSE_MS_MAX)) {
      const complaints: string[] = [];
      const ask = async (id: MemberId): Promise<void> => {
        try {
          if (await hasTakenIn(id, prepared)) waiting.delete(id);
        } catch (error) {
          if (!(error instanceof OperatingError)) throw error;
          complaints.push(`${waiting.get(id)}: ${messageOf(error)}`);
        }
      };
      await Promise.all([...waiting.keys()].map(ask));
      if (this.#isStopped) throw new OperatingError("CLOSED", "this node is stopping");
      const newest = ring();
      if (!isStillPrepared(prepared.document, newest.document)) return null;
      const missing = new Set(waiting.keys());
      if (missing.size === 0 || this.#mayDoWithout(missing, newest)) return missing;
      this.#sayObstacles(newest, what);
      if (clock.monotonicMs() >= sayMs) {
        sayMs = clock.monotonicMs() + SAY_AFTER_MS;
        log.info({ waitingFor: [...waiting.values()], complaints }, `${what}: not all have taken in their slots yet`);
      }
      await this.#rest.take(pauseMs);
    }
  }

  /**
   * Returns when the old owners write to the new ones too: those that can be reached all know of the change, or some were
   * waited for long enough and every slot that moves has a majority of owners that do. So whatever is written from now
   * on reaches the new owners, and what was written before can be fetched.
   */
  async #teachOwners(ring: Ring): Promise<void> {
    const { clock, self, teach, isReachable } = this.#options;
    const { document } = ring;
    const untilMs = clock.monotonicMs() + TEACHING_MS_MAX;
    // This member knows.
    const taught = new Set<MemberId>([self.id]);
    const teachOne = async (id: MemberId): Promise<void> => {
      try {
        await teach(id, document, clock.monotonicMs() + TEACH_MS_MAX);
        taught.add(id);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
      }
    };
    const { change } = ring;
    // Who is gone for good is asked nothing.
    const gone = change?.kind === "remove" || change?.kind === "replace" ? change.memberId : null;
    const others = document.members.map((member) => member.id).filter((id) => id !== self.id && id !== gone);
    for (;;) {
      await Promise.all(others.filter((id) => !taught.has(id)).map(teachOne));
      const missing = others.filter((id) => !taught.has(id) && isReachable(id));
      if (missing.length === 0 || clock.monotonicMs() >= untilMs) break;
      await this.#rest.take(TEACHING_PAUSE_MS);
      if (this.#isStopped) throw new OperatingError("CLOSED", "this node is stopping");
    }
    const slots = slotsWithout(ring, { taught, gone });
    if (slots > 0 && !(change !== null && isForced(change))) {
      const few = `${taught.size} of ${others.length + 1} members know of the change`;
      throw new OperatingError("UNAVAILABLE", `${few}, which is no majority of the owners of ${slots} slots`);
    }
  }

  async #change(change: RingChange): Promise<void> {
    const { clock } = this.#options;
    const outcome = await this.#options.change(change, clock.monotonicMs() + CHANGE_MS_MAX);
    switch (outcome.kind) {
      case "made":
        return;
      case "refused":
        throw new OperatingError("UNAVAILABLE", outcome.reason);
      case "no-majority":
        throw new OperatingError(
          "UNAVAILABLE",
          `${outcome.reached} members answered about the ring, ${outcome.needed} are needed`,
        );
      default:
        unreachable(outcome);
    }
  }

  #isDown(id: MemberId): boolean {
    return id !== this.#options.self.id && !this.#options.isReachable(id);
  }

  /** All of them are down, an operator wants it done without those, and what a leave takes away is on a majority of owners each. */
  #mayDoWithout(missing: ReadonlySet<MemberId>, ring: Ring): boolean {
    const { change } = ring;
    if (change === null || !isForced(change)) return false;
    const isDown = (id: MemberId): boolean => this.#isDown(id);
    return [...missing].every(isDown) && (change.kind === "remove" || slotsTooThin(ring, isDown) === 0);
  }

  /** Whom the change waits for that cannot take in slots as it is: at once, and again when that has changed. */
  #sayObstacles(ring: Ring, what: string): void {
    const { protocolOf, log } = this.#options;
    const obstacles = obstaclesOf(ring, { isDown: (id) => this.#isDown(id), protocolOf });
    const said = `${what}: waits for ${obstacles.join("; ")}`;
    if (obstacles.length > 0 && said !== this.#said) log.warn({}, said);
    this.#said = said;
  }

  #sayWait(): void {
    const { self, ring } = this.#options;
    if (ring().document.members.some(({ id }) => id === self.id)) return;
    const first = ring().document.pending[0];
    assert(first !== undefined, "enrolment: who waits, waits for somebody");
    const said = `waiting until this is done: ${describe(first, ring())}`;
    if (said !== this.#said) this.#options.log.info({ pending: ring().document.pending.length }, said);
    this.#said = said;
  }
}

const FAILED: Readonly<Record<Work, string>> = {
  ask: "asking to join the ring failed",
  wait: "looking whether a change of the ring is done failed",
  drive: "changing who owns what failed",
  correct: "correcting what the ring says of this member failed",
};

function isDone(step: NextStep): step is Exclude<NextStep, Work> {
  return step === "nothing" || step === "removed";
}

/** For people. */
function describe(change: PendingChange, { document }: Ring): string {
  const going = goingMember(change);
  const gone = document.members.find(({ id }) => id === going)?.name ?? going;
  const coming = comingMember(change)?.name;
  switch (change.kind) {
    case "join":
      return `${coming} joins`;
    case "leave":
      return `${gone} leaves`;
    case "remove":
      return `${gone} is removed`;
    case "replace":
      return `${coming} replaces ${gone}`;
    default:
      return unreachable(change);
  }
}

/** How many slots that change owners have no majority of old ones among `taught`. Who is gone writes no more, and does not count. */
function slotsWithout(ring: Ring, { taught, gone }: { taught: ReadonlySet<MemberId>; gone: MemberId | null }): number {
  let slots = 0;
  for (const slot of ring.changingSlots()) {
    let owners = 0;
    let known = 0;
    for (const owner of ring.current.replicas(slot)) {
      const { id } = ring.members[owner]!;
      if (id === gone) continue;
      owners++;
      if (taught.has(id)) known++;
    }
    if (2 * known <= owners && owners > 0) slots++;
  }
  return slots;
}
