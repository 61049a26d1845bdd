/**
 * Looks after the hints that wait here: starts to hand them over when their target is back (at once when its link comes up,
 * else with the next look, each second), drops those that are too old, and re-addresses those whose target is no member any
 * more, or keeps their slot no longer, also while it is away. One run a target at a time.
 *
 * Promise: in a quiet cluster, once a target is back all that it missed is handed over; then no hint for it is left, and
 * nothing is sent.
 */
import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import { pause, type Timer } from "../host/clock.js";
import type { Peers } from "../peer/peer.js";
import type { Fence } from "./fence.js";
import { type HandoffNode, type HandoffOutcome, HandoffRun, type HandoffSettings } from "./handoff-run.js";
import type { Hints } from "./hints.js";
import { Readdressing, type ReaddressingOptions, type RingSight } from "./readdressing.js";
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

export interface HandoffOptions extends Omit<HandoffNode, "readdressing"> {
  readonly peers: Pick<Peers, "begin" | "end" | "isUsable" | "onUp">;
  readonly settings: HandoffSettings & { readonly hintsMaxAgeMs: number };
  readonly self: MemberId;
  readonly ring: RingSight;
  /** True for members of the ring and who is joining. */
  readonly isMember: (member: MemberId) => boolean;
  readonly store: ReaddressingOptions["store"];
  /** The member knows a newer ring: fetch it. */
  readonly onStaleRing: (from: MemberId) => void;
  /** Counts each run. */
  readonly carrying: Fence;
  /** As people know it. */
  readonly nameOf: (member: MemberId) => string;
}

/** When a target may be tried again. */
interface Rest {
  readonly untilMs: number;
  readonly nextMs: number;
}

export class Handoff {
  /** Hints that their targets took, since the start. */
  handedOver = 0;
  readonly #options: HandoffOptions;
  readonly #readdressing: Readdressing;
  readonly #bucket = new TokenBucket();
  /** What is done for a target just now; null for what is not sending. */
  readonly #runs = new Map<MemberId, HandoffRun | null>();
  readonly #work = new Set<Promise<void>>();
  readonly #rests = new Map<MemberId, Rest>();
  /** What may be under way at once is shared by those that are back: where a whole data centre is, that is all of its members. */
  readonly #shared: HandoffSettings;
  readonly #sweptMs = new Map<MemberId, number>();
  /** The ring (`changedAt`) by which all hints for a member that is away were last looked through. */
  readonly #sortedBy = new Map<MemberId, number>();
  #ringVersion = 0;
  #timer: Timer | null = null;
  #isStopped = true;

  constructor(options: HandoffOptions) {
    this.#options = options;
    this.#readdressing = new Readdressing(options);
    const { settings } = options;
    const runs = this.#runs;
    this.#shared = {
      get handoffInFlight() {
        let count = 0;
        for (const run of runs.values()) if (run !== null) count++;
        return Math.max(1, Math.floor(settings.handoffInFlight / Math.max(1, count)));
      },
      get handoffRateBytes() {
        return settings.handoffRateBytes;
      },
    };
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

  /** Hints that went to other owners than their target, since the start. */
  get readdressed(): number {
    return this.#readdressing.readdressed;
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
    const { hints, isMember, ring } = this.#options;
    // Who was refused for the ring that was known here need not wait longer.
    if (ring.version() !== this.#ringVersion) this.#rests.clear();
    this.#ringVersion = ring.version();
    for (const { target } of hints.totals()) this.#drive(target);
    for (const member of hints.dirtySlots.members())
      if (!isMember(member) && !hints.has(member)) hints.dirtySlots.forget(member);
    this.#timer = this.#options.clock.after(LOOK_EVERY_MS, () => this.#look());
  }

  /** Does for a target what there is to do, unless something is being done or it was tried just now. */
  #drive(target: MemberId): void {
    const { hints, peers, clock, settings, ring, isMember } = this.#options;
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
    } else if (isMember(target) && peers.isUsable(target)) {
      const onDelivered = (): void => {
        this.handedOver++;
      };
      const node = { ...this.#options, readdressing: this.#readdressing, settings: this.#shared };
      const run = new HandoffRun(node, target, { bucket: this.#bucket, onDelivered });
      this.#begin(target, run, () => run.run());
    } else if (!isMember(target) || this.#sortedBy.get(target) !== ring.changedAt()) {
      this.#begin(target, null, () => this.#readdress(target));
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
      outcome = await this.#options.carrying.during(work);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#options.log.warn({ target, error: messageOf(error) }, "hints stay for now: they could not be handed over");
    }
    this.#runs.delete(target);
    if (run != null && run.progress > 0) this.#rests.delete(target);
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

  /** Addresses the hints for a member that does not keep their slots any more to those who do. */
  async #readdress(target: MemberId): Promise<HandoffOutcome> {
    const { hints, clock, ring, isMember } = this.#options;
    const changedAt = ring.changedAt();
    let isStuck = false;
    for (let from: string | null = null; ; ) {
      const page: Awaited<ReturnType<Hints["page"]>> = await hints.page(target, from);
      let sliceMs = clock.monotonicMs();
      for (const hint of page.hints) {
        if (this.#isStopped) return "stopped";
        if (isMember(target) && this.#readdressing.isForOwner(hint)) continue;
        if ((await this.#readdressing.sendOn(hint)) !== "moved") isStuck = true;
        if (clock.monotonicMs() - sliceMs < SLICE_MS) continue;
        await pause(clock, 0);
        sliceMs = clock.monotonicMs();
      }
      if (page.next === null) break;
      from = page.next;
      await pause(clock, 0);
    }
    if (isStuck) return "refused";
    this.#sortedBy.set(target, changedAt);
    return "done";
  }
}
