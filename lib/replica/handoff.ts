/**
 * Looks after the hints that wait here: starts to hand them over when their target is back (at once when its link comes up,
 * else with the next look, each second), drops those that are too old, and re-addresses those of a target that is no member
 * any more. One run a target at a time.
 *
 * Promise: in a quiet cluster, once a target is back all that it missed is handed over; then no hint for it is left, and
 * nothing is sent.
 */
import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import { pause, type Timer } from "../host/clock.js";
import type { Peers } from "../peer/peer.js";
import { slotOfDataKey } from "./data-key.js";
import { type HandoffNode, type HandoffOutcome, HandoffRun, type HandoffSettings } from "./handoff-run.js";
import type { Hint, Hints } from "./hints.js";
import { TokenBucket } from "./token-bucket.js";

const LOOK_EVERY_MS = 1_000;
/** A target that took nothing, or could not be read for, is left alone: for so long at first, then twice as long each time. */
const REST_MS_MIN = 1_000;
const REST_MS_MAX = 30_000;
/** Looking for hints that are too old walks over all of a target: not more often than this. */
const SWEEP_EVERY_MS = 60_000;
/** Work between two turns of others when hints are re-addressed. */
const SLICE_MS = 3;

export type { HandoffSettings };

export interface HandoffOptions extends HandoffNode {
  readonly peers: Pick<Peers, "begin" | "end" | "isUsable" | "onUp">;
  readonly settings: HandoffSettings & { readonly hintsMaxAgeMs: number };
  readonly self: MemberId;
  /** True for members of the ring and who is joining. */
  readonly isMember: (member: MemberId) => boolean;
  /** Who owns the slot, old and new owners, this node included. */
  readonly ownersOf: (slot: number) => readonly MemberId[];
  /** Merges a record into this node's own copy, and resolves when that is stored: for hints that are re-addressed to it. */
  readonly store: (dataKey: string, bytes: Uint8Array, start: number, end: number) => Promise<void>;
  /** The member knows a newer ring: fetch it. */
  readonly onStaleRing: (from: MemberId) => void;
  /** As people know it. */
  readonly nameOf: (member: MemberId) => string;
}

/** When a target may be tried again. */
interface Rest {
  readonly untilMs: number;
  readonly nextMs: number;
}

export class Handoff {
  /** Since the start: hints that their targets took, and hints of removed members that went to other owners. */
  handedOver = 0;
  readdressed = 0;
  readonly #options: HandoffOptions;
  readonly #bucket = new TokenBucket();
  /** What is done for a target just now; null for what is not sending. */
  readonly #runs = new Map<MemberId, HandoffRun | null>();
  readonly #work = new Set<Promise<void>>();
  readonly #rests = new Map<MemberId, Rest>();
  readonly #sweptMs = new Map<MemberId, number>();
  #ringVersion = 0;
  #timer: Timer | null = null;
  #isStopped = true;

  constructor(options: HandoffOptions) {
    this.#options = options;
    options.peers.onUp((peerId) => {
      this.#rests.delete(peerId);
      this.#drive(peerId);
    });
  }

  /** REQUIRES that the ring is known: who is no member of it is taken for gone. */
  start(): void {
    this.#isStopped = false;
    this.#look();
  }

  /** Resolves when nothing of it is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    for (const run of this.#runs.values()) run?.stop();
    await Promise.all(this.#work);
  }

  /** Hints that are sent and not answered yet. */
  get inFlight(): number {
    let inFlight = 0;
    for (const run of this.#runs.values()) inFlight += run?.inFlight ?? 0;
    return inFlight;
  }

  /** INFO `# Hints`. */
  *fields(): Generator<[string, number | string], void, undefined> {
    const { hints, clock, nameOf } = this.#options;
    const totals = hints.totals();
    const oldestMs = totals.reduce((oldest, target) => Math.min(oldest, target.oldestMs), clock.wallMs());
    yield ["hints_waiting", hints.count];
    yield ["hints_bytes", hints.bytes];
    yield ["hints_oldest_seconds", Math.floor((clock.wallMs() - oldestMs) / 1_000)];
    yield ["hints_in_flight", this.inFlight];
    yield ["hints_handed_over", this.handedOver];
    yield ["hints_readdressed", this.readdressed];
    yield ["hints_dropped_full", hints.droppedFull];
    yield ["hints_dropped_old", hints.droppedOld];
    yield ["hints_dirty_slots", hints.dirtySlots.count];
    for (const { target, count, bytes } of totals) yield [`hints_for_${nameOf(target)}`, `count=${count},bytes=${bytes}`];
  }

  #look(): void {
    const { hints, isMember, ringVersion } = this.#options;
    // Who was refused for the ring that was known here need not wait longer.
    if (ringVersion() !== this.#ringVersion) this.#rests.clear();
    this.#ringVersion = ringVersion();
    for (const { target } of hints.totals()) this.#drive(target);
    for (const member of hints.dirtySlots.members())
      if (!isMember(member) && !hints.has(member)) hints.dirtySlots.forget(member);
    this.#timer = this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
  }

  /** Does for a target what there is to do, unless something is being done or it was tried just now. */
  #drive(target: MemberId): void {
    const { hints, peers, clock, settings } = this.#options;
    if (this.#isStopped || this.#runs.has(target)) return;
    const waiting = hints.totals().find((totals) => totals.target === target);
    if (waiting === undefined) {
      this.#rests.delete(target);
      return;
    }
    const nowMs = clock.monotonicMs();
    if ((this.#rests.get(target)?.untilMs ?? 0) > nowMs) return;
    const isOld = waiting.oldestMs < clock.wallMs() - settings.hintsMaxAgeMs;
    if (isOld && nowMs - (this.#sweptMs.get(target) ?? Number.NEGATIVE_INFINITY) >= SWEEP_EVERY_MS) {
      this.#sweptMs.set(target, nowMs);
      this.#begin(target, null, () => this.#dropOld(target));
    } else if (!this.#options.isMember(target)) this.#begin(target, null, () => this.#readdress(target));
    else if (peers.isUsable(target)) {
      const onDelivered = (): void => {
        this.handedOver++;
      };
      const run = new HandoffRun(this.#options, target, { bucket: this.#bucket, onDelivered });
      this.#begin(target, run, () => run.run());
    }
  }

  #begin(target: MemberId, run: HandoffRun | null, work: () => Promise<HandoffOutcome>): void {
    this.#runs.set(target, run);
    const done = this.#run(target, work).finally(() => this.#work.delete(done));
    this.#work.add(done);
    background(done);
  }

  async #run(target: MemberId, work: () => Promise<HandoffOutcome>): Promise<void> {
    let outcome: HandoffOutcome = "refused";
    const run = this.#runs.get(target);
    try {
      outcome = await work();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#options.log.warn({ target, error: messageOf(error) }, "hints stay for now: they could not be handed over");
    }
    this.#runs.delete(target);
    if (run != null && run.delivered > 0) this.#rests.delete(target);
    if (this.#isStopped) return;
    switch (outcome) {
      case "done":
        this.#rests.delete(target);
        break;
      case "stale ring":
        this.#rest(target);
        this.#options.onStaleRing(target);
        return;
      case "refused":
        this.#rest(target);
        return;
      default:
    }
    // It may be back already, and there may be something else to do for it.
    this.#drive(target);
  }

  #rest(target: MemberId): void {
    const restMs = this.#rests.get(target)?.nextMs ?? REST_MS_MIN;
    const untilMs = this.#options.clock.monotonicMs() + restMs;
    this.#rests.set(target, { untilMs, nextMs: Math.min(2 * restMs, REST_MS_MAX) });
  }

  async #dropOld(target: MemberId): Promise<HandoffOutcome> {
    const { hints, log, nameOf } = this.#options;
    const before = hints.droppedOld;
    await hints.dropOld(target, () => this.#isStopped);
    const dropped = hints.droppedOld - before;
    if (dropped > 0) log.warn({ target, dropped }, `hints for ${nameOf(target)} were too old and were dropped (hints-max-age)`);
    return "done";
  }

  /** Addresses the hints for a member that is gone to those who own their slots now. */
  async #readdress(target: MemberId): Promise<HandoffOutcome> {
    const { hints, clock } = this.#options;
    let isStuck = false;
    for (let from: string | null = null; ; ) {
      const page: Awaited<ReturnType<Hints["page"]>> = await hints.page(target, from);
      let sliceMs = clock.monotonicMs();
      for (const hint of page.hints) {
        if (this.#isStopped) return "stopped";
        if (await this.#sendOn(hint)) this.readdressed++;
        else isStuck = true;
        if (clock.monotonicMs() - sliceMs < SLICE_MS) continue;
        await pause(clock, 0);
        sliceMs = clock.monotonicMs();
      }
      if (page.next === null) return isStuck ? "refused" : "done";
      from = page.next;
      await pause(clock, 0);
    }
  }

  /** False when there was no room for it, or it has changed meanwhile: it stays as it is. */
  async #sendOn(hint: Hint): Promise<boolean> {
    const { hints, self, ownersOf, store } = this.#options;
    const { dataKey, record } = hint;
    const owners = ownersOf(slotOfDataKey(dataKey));
    if (owners.length === 0 || owners.includes(hint.target)) return false;
    if (record !== null && owners.includes(self)) await store(dataKey, record, 0, record.length);
    for (const owner of owners) {
      if (owner === self) continue;
      if (record === null) {
        if (hints.mark(owner, dataKey) === 0) return false;
      } else {
        const kept = hints.keep(owner, dataKey, record, 0, record.length);
        const isKept = kept === "unread" ? await hints.keepRead(owner, dataKey, record, 0, record.length) : kept;
        if (isKept === "full") return false;
      }
    }
    return hints.remove(hint);
  }
}
