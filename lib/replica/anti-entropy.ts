/**
 * Compares this node's copies with those of the members that share slots with it, one after the other: each once an interval, and
 * soon after it came back or when hints for it were dropped; across data centres by pairs (hash-tree.ts). Members with hints waiting are left to the handover first, which
 * knows what they lack.
 *
 * Promise: in a quiet cluster all copies of a record are equal after each pair was compared, and from then on a comparison is one
 * sum each way.
 */
import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import { pause, type Timer } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Peers } from "../peer/peer.js";
import type { Hints } from "./hints.js";
import { TokenBucket } from "./token-bucket.js";
import { type ExchangeNode, type ExchangeOutcome, type ExchangeResult, TreeExchange } from "./tree-exchange.js";

const LOOK_EVERY_MS = 1_000;
/** After a peer came back, and after an exchange that repaired something: until it is looked whether all is equal now. */
const SOON_MS = 2_000;
/** Reading again what changes all the time costs as much as following it would: it is done every third time. */
const SUM_UP_INTERVALS = 3;
const SUMMING_UP_MS_MAX = 5_000;
/** So long is a member left to the handover of its hints. */
const HINTS_MS_MAX = 60_000;
/** Until a member that could not be compared with is tried again. */
const FAILED_MS = 5_000;
/** Where one of the two knows a newer ring, the other fetches it: until they compare again, and how often. */
const STALE_RING_MS = 500;
const STALE_RING_TRIES = 10;

export interface AntiEntropySettings {
  /** 0: never, but when it is asked for. Read at each use, as all here. */
  readonly antiEntropyIntervalMs: number;
  readonly repairRateBytes: number;
}

export interface AntiEntropyOptions extends ExchangeNode {
  readonly peers: Pick<Peers, "call" | "isUsable" | "onUp">;
  readonly hints: Hints;
  readonly log: Log;
  readonly settings: AntiEntropySettings;
  readonly nameOf: (member: MemberId) => string;
  /** The member knows a newer ring, or an older one. */
  readonly onStaleRing: (from: MemberId) => void;
  /** Slots whose sums are not known yet: they are not compared. */
  readonly slotsUnknown: () => number;
  /** Has them summed up, if that is not under way. */
  readonly onUnknown: () => void;
  readonly isSummingUp: () => boolean;
}

/** What is asked for by hand. */
export interface RepairOrder {
  /** Null: all that are shared. */
  readonly slot: number | null;
  /** Null: all that share a slot. */
  readonly peer: MemberId | null;
}

/** How far an order is. */
export interface RepairProgress {
  readonly membersDone: number;
  readonly members: number;
  readonly slotsDiffering: number;
  readonly taken: number;
  readonly given: number;
  readonly bytes: number;
  /** Members that could not be compared with, and slots or keys that could not be repaired. */
  readonly failed: number;
  readonly complaint: string;
}

/** What is known of a partner. */
interface Partner {
  dueMs: number;
  /** Since when it waits for its hints; null: it does not. */
  waitsSinceMs: number | null;
  /** It was said that it is of an earlier protocol, which cannot be compared with. */
  isSaidTooOld: boolean;
}

export class AntiEntropy {
  readonly #options: AntiEntropyOptions;
  readonly #bucket = new TokenBucket();
  readonly #partners = new Map<MemberId, Partner>();
  #exchange: TreeExchange | null = null;
  #running: Promise<void> | null = null;
  #timer: Timer | null = null;
  #isStopped = true;
  #order: { readonly order: RepairOrder; readonly left: MemberId[]; progress: RepairProgress } | null = null;
  /** Since the start. */
  exchanges = 0;
  slotsRepaired = 0;
  keysTaken = 0;
  keysGiven = 0;
  bytes = 0;
  failures = 0;
  #lastMs: number | null = null;
  #summedUpMs = Number.NEGATIVE_INFINITY;

  constructor(options: AntiEntropyOptions) {
    this.#options = options;
    options.peers.onUp((peerId) => this.#expect(peerId, SOON_MS));
  }

  /** REQUIRES that the ring is known. */
  start(): void {
    this.#isStopped = false;
    this.#look();
  }

  /** Resolves when nothing of it is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#exchange?.stop();
    await this.#running;
  }

  /** Compares as soon as the sums of all slots are known. False while an earlier order is under way. */
  begin(order: RepairOrder): boolean {
    if (this.#order !== null && this.#order.left.length > 0) return false;
    const left = order.peer === null ? this.#options.trees.partners() : [order.peer];
    const progress = { membersDone: 0, slotsDiffering: 0, taken: 0, given: 0, bytes: 0, failed: 0, complaint: "" };
    this.#order = { order, left, progress: { ...progress, members: left.length } };
    this.#drive();
    return true;
  }

  /** Of the last order; null before the first. */
  get progress(): RepairProgress | null {
    return this.#order?.progress ?? null;
  }

  /** INFO `# Anti-entropy`. */
  *fields(): Generator<[string, number | string], void, undefined> {
    const { clock, slotsUnknown } = this.#options;
    yield ["anti_entropy_partners", this.#partners.size];
    yield ["anti_entropy_exchanges", this.exchanges];
    yield ["anti_entropy_last_seconds", this.#lastMs === null ? -1 : Math.floor((clock.monotonicMs() - this.#lastMs) / 1_000)];
    yield ["anti_entropy_slots_repaired", this.slotsRepaired];
    yield ["anti_entropy_keys_taken", this.keysTaken];
    yield ["anti_entropy_keys_given", this.keysGiven];
    yield ["anti_entropy_bytes", this.bytes];
    yield ["anti_entropy_failures", this.failures];
    yield ["anti_entropy_slots_unknown", slotsUnknown()];
  }

  /** Sums up slots that are not known, for a comparison that is due: not more often than every so many intervals. */
  sumUp(): void {
    const { clock, settings, slotsUnknown, onUnknown } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#summedUpMs < SUM_UP_INTERVALS * settings.antiEntropyIntervalMs || slotsUnknown() === 0) return;
    this.#summedUpMs = nowMs;
    onUnknown();
  }

  #look(): void {
    const { trees, clock, hints, settings } = this.#options;
    // Of two in different data centres one begins; but who has something to look after does so itself.
    const isExpected = (id: MemberId): boolean => trees.begins(id) || hints.dirtySlots.members().includes(id);
    const partners = new Set(trees.partners().filter(isExpected));
    for (const id of this.#partners.keys()) if (!partners.has(id)) this.#partners.delete(id);
    for (const id of partners) {
      if (!this.#partners.has(id)) this.#expect(id, SOON_MS);
    }
    for (const id of hints.dirtySlots.members()) {
      if (partners.has(id) && settings.antiEntropyIntervalMs > 0 && !hints.has(id)) this.#expect(id, SOON_MS);
    }
    this.#drive();
    this.#timer = clock.after(LOOK_EVERY_MS, () => this.#look());
  }

  /** It is to be compared with after so long at the latest. */
  #expect(id: MemberId, inMs: number): void {
    const dueMs = this.#options.clock.monotonicMs() + inMs;
    const partner = this.#partners.get(id);
    if (partner === undefined) this.#partners.set(id, { dueMs, waitsSinceMs: null, isSaidTooOld: false });
    else partner.dueMs = Math.min(partner.dueMs, dueMs);
  }

  #drive(): void {
    if (this.#isStopped || this.#running !== null) return;
    const next = this.#nextOrdered() ?? this.#nextDue();
    if (next === null) return;
    this.#running = this.#run(next).finally(() => {
      this.#running = null;
      this.#exchange = null;
      this.#drive();
    });
    background(this.#running);
  }

  #nextOrdered(): MemberId | null {
    const order = this.#order;
    if (order === null || order.left.length === 0 || this.#options.slotsUnknown() > 0) return null;
    return order.left[0]!;
  }

  /** Of the members that are due the one that is so the longest. */
  #nextDue(): MemberId | null {
    const { peers, hints, clock, settings } = this.#options;
    if (settings.antiEntropyIntervalMs === 0) return null;
    const nowMs = clock.monotonicMs();
    if ([...this.#partners.values()].some((partner) => partner.dueMs <= nowMs)) this.sumUp();
    // What is to be compared is found out first, unless that takes long.
    if (this.#options.isSummingUp() && nowMs - this.#summedUpMs < SUMMING_UP_MS_MAX) return null;
    let next: MemberId | null = null;
    let dueMs = nowMs;
    for (const [id, partner] of this.#partners) {
      if (partner.dueMs > dueMs || !peers.isUsable(id)) continue;
      if (hints.has(id)) {
        partner.waitsSinceMs ??= nowMs;
        if (nowMs - partner.waitsSinceMs < HINTS_MS_MAX) continue;
      }
      partner.waitsSinceMs = null;
      next = id;
      dueMs = partner.dueMs;
    }
    return next;
  }

  async #run(peer: MemberId): Promise<void> {
    const { log, nameOf, clock, settings, trees, peers } = this.#options;
    const order = this.#nextOrdered() === null ? null : this.#order;
    const slot = order?.order.slot ?? null;
    const isWanted = (candidate: number): boolean => {
      if (order !== null) return slot === null || candidate === slot;
      return trees.repairs(peer, candidate, (id) => peers.isUsable(id));
    };
    const { result, outcome } = await this.#compare(peer, isWanted);
    // Another ring, or an earlier protocol, is no failure of a comparison; but who asked for one did not get it.
    if (outcome === "gone" || (order !== null && outcome !== "done" && outcome !== "stopped")) {
      result.failed++;
      result.complaint ||= outcome === "stale ring" ? "its ring is of another version" : "it does not answer";
    }
    this.#count(result);
    if (order !== null) noteProgress(order, result);
    if (result.slotsDiffering.length > 0 || result.failed > 0) {
      const { slotsDiffering, keysDiffering, taken, given, bytes, failed, complaint } = result;
      const seen = { member: peer, slots: slotsDiffering.length, keysDiffering, taken, given, bytes, failed, outcome };
      log.info({ ...seen, ...(complaint === "" ? {} : { complaint }) }, `compared copies with ${nameOf(peer)}`);
    }
    const partner = this.#partners.get(peer);
    if (partner === undefined) return;
    if (outcome === "too old" && !partner.isSaidTooOld) {
      log.warn({ member: peer }, `copies are not compared with ${nameOf(peer)}: ${result.complaint}`);
    }
    partner.isSaidTooOld = outcome === "too old";
    if (outcome === "done" && slot === null) this.#clearDirty(peer, result.slotsDiffering);
    const repaired = result.taken + result.given > 0;
    const intervalMs = settings.antiEntropyIntervalMs;
    const isUndone = result.failed > 0 || outcome === "stale ring";
    partner.dueMs = clock.monotonicMs() + (isUndone ? FAILED_MS : repaired ? Math.min(SOON_MS, intervalMs) : intervalMs);
  }

  /** Once more, some times, where the two know different rings: that is none of the copies' fault, and passes. */
  async #compare(
    peer: MemberId,
    isWanted: (slot: number) => boolean,
  ): Promise<{ result: ExchangeResult; outcome: ExchangeOutcome }> {
    const { clock, onStaleRing } = this.#options;
    for (let tries = 1; ; tries++) {
      const exchange = new TreeExchange(this.#options, peer, { bucket: this.#bucket, isWanted });
      this.#exchange = exchange;
      const { result } = exchange;
      let outcome: ExchangeOutcome = "gone";
      try {
        outcome = await this.#options.replica.carrying.during(() => exchange.run());
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        result.failed++;
        result.complaint = messageOf(error);
      }
      if (outcome !== "stale ring") return { result, outcome };
      onStaleRing(peer);
      if (tries === STALE_RING_TRIES || this.#isStopped) return { result, outcome };
      this.#count(result);
      await pause(clock, STALE_RING_MS);
    }
  }

  #count(result: ExchangeResult): void {
    this.exchanges++;
    this.slotsRepaired += result.slotsDiffering.length;
    this.keysTaken += result.taken;
    this.keysGiven += result.given;
    this.bytes += result.bytes;
    this.failures += result.failed;
    this.#lastMs = this.#options.clock.monotonicMs();
  }

  /** Slots that do not differ any more need no looking after. */
  #clearDirty(peer: MemberId, differing: readonly number[]): void {
    const { hints, trees } = this.#options;
    const still = new Set(differing);
    for (const slot of [...hints.dirtySlots.slotsOf(peer)]) {
      const isCompared = trees.sharedWith(peer)[slot] === 1 && trees.leaf(peer, slot) !== 0;
      const isForeign = trees.sharedWith(peer)[slot] === 0;
      if ((isCompared && !still.has(slot)) || isForeign) hints.dirtySlots.clear(peer, slot);
    }
  }
}

function noteProgress(order: { readonly left: MemberId[]; progress: RepairProgress }, result: ExchangeResult): void {
  const { progress } = order;
  order.left.shift();
  order.progress = {
    members: progress.members,
    membersDone: progress.membersDone + 1,
    slotsDiffering: progress.slotsDiffering + result.slotsDiffering.length,
    taken: progress.taken + result.taken,
    given: progress.given + result.given,
    bytes: progress.bytes + result.bytes,
    failed: progress.failed + result.failed,
    complaint: result.complaint || progress.complaint,
  };
}
