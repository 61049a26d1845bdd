/**
 * Has tombstones, and clock entries that no store counts on, leave the records of the slots whose first owner this member is.
 * Nothing leaves by its age: a copy that was away for a year may come back with what a tombstone has removed. So all members are
 * asked, without any clock being trusted, until nothing older can be anywhere:
 *
 *  1. MARK: every member says in which of the slots it keeps nothing but what the owners do (no hint, nothing left over from when
 *     it was an owner), as of a moment that it remembers; CONFIRM: every owner has the identical record, on its disk.
 *  2. FENCE: every member waits until all is over that it had begun before: what it read before 1 is in nobody's hands any more.
 *  3. CHECK: no member has kept a hint of the slots since its mark. What was begun after 2 read what is there since 1.
 *  4. REMOVE: each owner removes the records that are still those.
 *
 * A member that is down, or has restarted between, ends it: it is tried again when all are there. A copy that misses step 4 keeps
 * its tombstone, and gives it back to the others by anti-entropy, until they all agree again.
 */
import { background } from "../background.js";
import { SLOTS } from "../bytes/slot.js";
import { stampMs } from "../causality/hybrid-clock.js";
import { digestOf } from "../causality/record-digest.js";
import { decodeRecord } from "../causality/record-encoding.js";
import { isDead, type LiveStores, pruned } from "../causality/record-pruning.js";
import { RecordView } from "../causality/record-view.js";
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause, type Timer } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Peers } from "../peer/peer.js";
import { dataKeyOfReaping, hashOfDataKey, reapingKeyFloor, slotOfDataKey } from "./data-key.js";
import type { KeyDigest } from "./key-digests.js";
import { RareWarning } from "./rare-warning.js";
import { decodeFlagsAnswer, decodeMarkAnswer, encodeReapRequest, type Mark, type ReapRequest } from "./reap-messages.js";
import type { ReapService } from "./reap-service.js";
import type { Replica } from "./replica.js";
import { AnswerStatus, ReplicaKind } from "./replica-messages.js";
import { spansOf } from "./slot-spans.js";

/** Keys of one round: they are held in memory. */
const KEYS_MAX = 65_536;
const KEYS_PER_CALL = 2_048;
const INDEX_PAGE = 1_024;
const READ_AT_ONCE = 64;
const CALL_MS = 10_000;
/** A member that moves records to another one for longer holds the round up. */
const FENCE_MS = 60_000;
/** Between two looks whether a round is due, and until one that found more than it could hold is followed by the next. */
const LOOK_EVERY_MS = 1_000;

export interface ReapSettings {
  /** 0: never. Read at each use, as all here. */
  readonly reapIntervalMs: number;
  /** How old a tombstone is at least. Safety does not depend on it. */
  readonly reapAgeMs: number;
}

export interface AgreedReapingOptions {
  readonly selfId: MemberId;
  readonly peers: Pick<Peers, "call" | "isUsable">;
  readonly replica: Replica;
  readonly service: ReapService;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: ReapSettings;
  /** A stamp that rises. */
  readonly nextId: () => number;
  readonly nameOf: (member: MemberId) => string;
}

interface Candidate extends KeyDigest {
  /** Of what is no tombstone: its record, out of whose context something may leave. */
  readonly record: Buffer | null;
}

/** Why a round ends early: nothing is wrong, but now is not the time. */
class HeldUp extends Error {}

export class AgreedReaping {
  readonly #options: AgreedReapingOptions;
  readonly #view = new RecordView();
  readonly #warning: RareWarning;
  #ring: Ring | null = null;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #isStopped = false;
  #endWait: () => void = () => {};
  /** Resolves when this node stops: nothing is worth waiting for then. */
  readonly #ended = new Promise<void>((resolve) => {
    this.#endWait = resolve;
  });
  #dueMs = 0;
  /** The slot in which the next round begins to look. */
  #nextSlot = 0;
  #lastMs: number | null = null;
  /** Of the last round; empty where nothing held it up. */
  #heldUpBy = "";
  /** Rounds that came to their end, since the start. */
  rounds = 0;

  constructor(options: AgreedReapingOptions) {
    this.#options = options;
    this.#warning = new RareWarning(options);
  }

  start(): void {
    this.#dueMs = this.#options.clock.monotonicMs() + this.#options.settings.reapIntervalMs;
    this.#look();
  }

  update(ring: Ring): void {
    this.#ring = ring;
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#endWait();
    await this.#running;
  }

  /** INFO `# Anti-entropy`. */
  *fields(): Generator<[string, number | string], void, undefined> {
    const { replica, service, clock } = this.#options;
    yield ["reap_waiting", replica.reapable];
    yield ["reap_removed", service.removed];
    yield ["reap_pruned", service.pruned];
    yield ["reap_rounds", this.rounds];
    yield ["reap_last_seconds", this.#lastMs === null ? -1 : Math.floor((clock.monotonicMs() - this.#lastMs) / 1_000)];
    yield ["reap_held_up_by", replica.reapable === 0 ? "" : (this.#absence() ?? this.#heldUpBy)];
  }

  #look(): void {
    const { clock, settings } = this.#options;
    this.#timer = clock.after(LOOK_EVERY_MS, () => this.#look());
    const isDue = clock.monotonicMs() >= this.#dueMs;
    if (settings.reapIntervalMs === 0 || !isDue || this.#running !== null || this.#isStopped) return;
    this.#running = this.#round().finally(() => {
      this.#running = null;
    });
    background(this.#running);
  }

  async #round(): Promise<void> {
    const { clock, settings } = this.#options;
    this.#dueMs = clock.monotonicMs() + settings.reapIntervalMs;
    try {
      const { keys, isAll } = await this.#candidates();
      if (keys.length > 0) await this.#reap(keys);
      if (!isAll) this.#dueMs = 0;
      this.#heldUpBy = "";
    } catch (error) {
      if (!(error instanceof HeldUp || error instanceof OperatingError)) throw error;
      this.#heldUpBy = error instanceof HeldUp ? error.message : messageOf(error);
      if (error instanceof OperatingError && error.code !== "CLOSED")
        this.#warning.say({ error: error.message }, "tombstones stay for now");
      // Where it was held up others of its keys may be next time.
      this.#dueMs = clock.monotonicMs() + settings.reapIntervalMs;
    }
  }

  /** What may leave, as far as this member can tell, with `KEYS_MAX` at most; `isAll`: there was no more. */
  async #candidates(): Promise<{ keys: Candidate[]; isAll: boolean }> {
    const { replica, selfId, clock } = this.#options;
    const ring = this.#ring;
    const self = ring?.indexOf(selfId) ?? null;
    const keys: Candidate[] = [];
    if (ring === null || self === null || replica.reapable === 0) return { keys, isAll: true };
    const isOurs = (slot: number): boolean => ring.current.replicas(slot)[0] === self && !ring.isChanging(slot);
    const startSlot = this.#nextSlot;
    for (let step = 0; step < SLOTS; step++) {
      const slot = (startSlot + step) % SLOTS;
      this.#nextSlot = (slot + 1) % SLOTS;
      const from = reapingKeyFloor(slot);
      const [first] = (await replica.scan({ from, to: reapingKeyFloor(SLOTS), limit: 1, values: "without" })).entries;
      const found = first === undefined ? SLOTS : slotOfDataKey(dataKeyOfReaping(first.key));
      // Those between have none.
      if (found > slot) {
        step += Math.min(found, SLOTS) - slot - 1;
        continue;
      }
      if (isOurs(slot)) await this.#collect(slot, keys);
      if (keys.length >= KEYS_MAX) return { keys, isAll: false };
      if (this.#isStopped) throw new HeldUp("this node is stopping");
      await pause(clock, 0);
    }
    return { keys, isAll: true };
  }

  /** Adds those of one slot. */
  async #collect(slot: number, keys: Candidate[]): Promise<void> {
    const { replica } = this.#options;
    const range = { to: reapingKeyFloor(slot + 1), limit: INDEX_PAGE, values: "without" } as const;
    for (let from: string | null = reapingKeyFloor(slot); from !== null && keys.length < KEYS_MAX; ) {
      const page: Awaited<ReturnType<Replica["scan"]>> = await replica.scan({ ...range, from });
      for (let at = 0; at < page.entries.length; at += READ_AT_ONCE) {
        const some = page.entries.slice(at, at + READ_AT_ONCE).map(({ key }) => dataKeyOfReaping(key));
        const records = await Promise.all(some.map((dataKey) => replica.read(dataKey)));
        for (const [index, bytes] of records.entries()) {
          const candidate = bytes === null ? null : this.#candidate(bytes, some[index]!);
          if (candidate !== null) keys.push(candidate);
        }
      }
      from = page.next;
    }
  }

  /** Null for a tombstone that is too young. */
  #candidate(bytes: Buffer, dataKey: string): Candidate | null {
    const { clock, settings } = this.#options;
    const view = this.#view;
    view.read(bytes, 0, bytes.length);
    const isYoung = view.isRemoved && clock.wallMs() - stampMs(view.newestStamp()) < settings.reapAgeMs;
    if (isYoung) return null;
    const isDead = view.isRemoved && view.versionCount === 1;
    return { dataKey, digest: digestOf(view, hashOfDataKey(dataKey)), record: isDead ? null : bytes };
  }

  async #reap(candidates: readonly Candidate[]): Promise<void> {
    const { clock, nextId } = this.#options;
    const ring = this.#ring!;
    const ringVersion = ring.document.version;
    const members = ring.members.map(({ id }) => id);
    this.#requireAll();
    const slots = slotsIn(candidates);
    const [marks, keys] = await Promise.all([
      this.#mark(members, slots, ringVersion),
      this.#confirmed(ring, candidates, ringVersion),
    ]);
    const left = keys.filter(
      ({ dataKey, record }) => !marks.heldUp.has(slotOfDataKey(dataKey)) && (record === null || mayShrink(record, marks.live)),
    );
    if (left.length === 0) return this.#done(clock.monotonicMs());
    const passed = Promise.all(members.map((member) => this.#ask(member, { what: "fence", ringVersion }, FENCE_MS)));
    await Promise.race([passed, this.#ended]);
    const heldUp = await this.#check(marks.of, slotsIn(left), ringVersion);
    const agreed = left.filter(({ dataKey }) => !heldUp.has(slotOfDataKey(dataKey)));
    const order = { what: "remove", ringVersion, id: nextId(), live: marks.live } as const;
    await this.#eachOwner(ring, agreed, (owner, some) => this.#ask(owner, { ...order, keys: some }, CALL_MS));
    this.#done(clock.monotonicMs());
  }

  #done(nowMs: number): void {
    this.rounds++;
    this.#lastMs = nowMs;
  }

  #requireAll(): void {
    const absence = this.#absence();
    if (absence !== null) throw new HeldUp(absence);
  }

  /** Says who is away, of all that have to answer; null for nobody. */
  #absence(): string | null {
    const { selfId, peers, nameOf } = this.#options;
    const absent = this.#ring?.members.find(({ id }) => id !== selfId && !peers.isUsable(id));
    return absent === undefined ? null : `${nameOf(absent.id)} is away: nothing leaves before it is back or removed`;
  }

  async #mark(
    members: readonly MemberId[],
    slots: readonly number[],
    ringVersion: number,
  ): Promise<{ heldUp: Set<number>; live: Map<string, number>; of: Map<MemberId, Mark> }> {
    const spans = spansOf(slots);
    const heldUp = new Set<number>();
    const live = new Map<string, number>();
    const of = new Map<MemberId, Mark>();
    const askOne = async (member: MemberId): Promise<void> => {
      const answer = decodeMarkAnswer(await this.#ask(member, { what: "mark", ringVersion, spans }, CALL_MS), spans);
      of.set(member, answer.mark);
      live.set(answer.storeId, answer.epoch);
      slots.forEach((slot, at) => {
        if (answer.heldUp[at]) heldUp.add(slot);
      });
    };
    await Promise.all(members.map(askOne));
    return { heldUp, live, of };
  }

  /** The keys whose records are the same on all owners. */
  async #confirmed(ring: Ring, keys: readonly Candidate[], ringVersion: number): Promise<readonly Candidate[]> {
    const different = new Set<string>();
    await this.#eachOwner(ring, keys, async (owner, some) => {
      const answer = await this.#ask(owner, { what: "confirm", ringVersion, keys: some }, CALL_MS);
      const same = decodeFlagsAnswer(answer, some.length);
      some.forEach(({ dataKey }, at) => {
        if (!same[at]) different.add(dataKey);
      });
    });
    return keys.filter(({ dataKey }) => !different.has(dataKey));
  }

  async #check(
    marks: ReadonlyMap<MemberId, Mark>,
    slots: readonly number[],
    ringVersion: number,
  ): Promise<ReadonlySet<number>> {
    const spans = spansOf(slots);
    const heldUp = new Set<number>();
    const askOne = async ([member, mark]: [MemberId, Mark]): Promise<void> => {
      const answer = await this.#ask(member, { what: "check", ringVersion, mark, spans }, CALL_MS);
      const flags = decodeFlagsAnswer(answer, slots.length);
      slots.forEach((slot, at) => {
        if (flags[at]) heldUp.add(slot);
      });
    };
    await Promise.all([...marks].map(askOne));
    return heldUp;
  }

  /** Calls `ask` for each owner with its keys, a bounded number at a time; the owners at once, of each one call after the other. */
  async #eachOwner(
    ring: Ring,
    keys: readonly KeyDigest[],
    ask: (owner: MemberId, some: readonly KeyDigest[]) => Promise<unknown>,
  ): Promise<void> {
    const byOwner = new Map<number, KeyDigest[]>();
    for (const key of keys) {
      for (const owner of ring.current.replicas(slotOfDataKey(key.dataKey))) {
        const list = byOwner.get(owner) ?? [];
        list.push(key);
        byOwner.set(owner, list);
      }
    }
    const askOne = async ([owner, list]: [number, readonly KeyDigest[]]): Promise<void> => {
      for (let at = 0; at < list.length; at += KEYS_PER_CALL) {
        await ask(ring.members[owner]!.id, list.slice(at, at + KEYS_PER_CALL));
      }
    };
    await Promise.all([...byOwner].map(askOne));
  }

  /** The answer of a member, this one included. Rejects with `HeldUp` where it is none. */
  async #ask(member: MemberId, request: ReapRequest, withinMs: number): Promise<Buffer> {
    const { selfId, peers, service, clock, nameOf } = this.#options;
    if (this.#isStopped) throw new HeldUp("this node is stopping");
    let answer: Buffer;
    if (member === selfId) answer = await service.answer(request);
    else {
      const deadlineMs = clock.monotonicMs() + withinMs;
      const call = { to: member, kind: ReplicaKind.reap, payload: encodeReapRequest(request), deadlineMs };
      try {
        answer = await peers.call(call);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        throw new HeldUp(`${nameOf(member)} did not answer: ${messageOf(error)}`);
      }
    }
    if (answer[0] !== AnswerStatus.ok) throw new HeldUp(`${nameOf(member)} knows another ring than this member`);
    return answer;
  }
}

function mayShrink(bytes: Buffer, live: LiveStores): boolean {
  const record = decodeRecord(bytes);
  return isDead(record) || pruned(record, live) !== record;
}

/** Ascending, each once. */
function slotsIn(keys: readonly KeyDigest[]): number[] {
  return [...new Set(keys.map(({ dataKey }) => slotOfDataKey(dataKey)))].sort((a, b) => a - b);
}
