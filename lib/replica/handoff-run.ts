/**
 * Hands the hints for one target over, until none is left or the target has to be left alone for a while. Hints are sent in
 * the order of their keys, a bounded number at once, and each is deleted when its acknowledgement comes, unless it has
 * changed meanwhile; then it is met again by the next walk. Where the target keeps the slot no longer, or is about to give it
 * up, others are to have the record: readdressing.ts.
 *
 * Only what is committed is sent: what the disk refuses here must not live there.
 */

import { background } from "../background.js";
import { forSending } from "../causality/record-encoding.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Lsm } from "../lsm/lsm.js";
import type { PeerCallHead, PeerFailureCode, Peers } from "../peer/peer.js";
import { encodedRecordOf } from "./encoded-record.js";
import { HandoffWindow } from "./handoff-window.js";
import type { Hint, Hints } from "./hints.js";
import type { Moved, Readdressing, RingSight } from "./readdressing.js";
import { AnswerStatus, ReplicaKind, storeBytesMax, writeStore } from "./replica-messages.js";
import type { TokenBucket } from "./token-bucket.js";

/** Read at each use. */
export interface HandoffSettings {
  /** Hints under way to all targets together, 1 or more; at least one to each. */
  readonly handoffInFlight: number;
  /** Bytes of records a second, to all targets together. */
  readonly handoffRateBytes: number;
}

/** What a run needs of the node. */
export interface HandoffNode {
  readonly hints: Hints;
  readonly peers: Pick<Peers, "begin" | "end" | "isUsable">;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: HandoffSettings;
  readonly ring: Pick<RingSight, "version">;
  readonly readdressing: Pick<Readdressing, "isForOwner" | "sendOn" | "delivered">;
  /** Holds this node's own records too, which marks stand for. */
  readonly lsm: Pick<Lsm, "read" | "committed" | "commitsRefused">;
}

/** `gone`: there is no link. `stale ring`: the target knows a newer one. `refused`: nothing went through. */
export type HandoffOutcome = "done" | "gone" | "stale ring" | "refused" | "stopped";

/** How long the target has for one hint, in milliseconds. */
const HANDOVER_MS = 5_000;
/** A run that is stopped ends so soon, however large the record that used up the rate. */
const WAIT_MS_MAX = 100;
/** Who is just back has much to do. */
const IN_FLIGHT_AT_FIRST = 8;
/** Hints that are made ready at once. */
const BATCH = 64;

/** A hint with what is sent for it. */
interface Parcel {
  readonly hint: Hint;
  readonly record: Uint8Array;
}

export class HandoffRun {
  readonly #node: HandoffNode;
  readonly #target: MemberId;
  readonly #bucket: TokenBucket;
  readonly #onDelivered: () => void;
  readonly #window: HandoffWindow;
  #progress = 0;
  /** Why this run is to end early. */
  #verdict: Exclude<HandoffOutcome, "done"> | null = null;
  /** What is wrong with hints that were refused for a reason of their own: told once. */
  #complaint: string | null = null;
  /** Resolves whoever waits for an answer. */
  #wake: (() => void) | null = null;
  /** Removals under way. */
  #removals = 0;

  constructor(
    node: HandoffNode,
    target: MemberId,
    options: { readonly bucket: TokenBucket; readonly onDelivered: () => void },
  ) {
    this.#node = node;
    this.#target = target;
    this.#bucket = options.bucket;
    this.#onDelivered = options.onDelivered;
    this.#window = new HandoffWindow(node.settings.handoffInFlight, IN_FLIGHT_AT_FIRST);
  }

  get inFlight(): number {
    return this.#window.inFlight;
  }

  /** Hints that the target took, or that went to others, each time that this was so. */
  get progress(): number {
    return this.#progress;
  }

  /** Ends the run soon. What is acknowledged from now on stays, and is handed over again one day: the engine may be closed. */
  stop(): void {
    this.#verdict = "stopped";
    this.#wakeUp();
  }

  /** Rejects with IO or CORRUPT. */
  async run(): Promise<HandoffOutcome> {
    const { hints, log } = this.#node;
    for (;;) {
      const { lastTag } = hints;
      const before = this.#progress;
      const met = await this.#walk();
      while (this.#removals > 0 || (this.#window.inFlight > 0 && this.#verdict !== "stopped")) await this.#woken();
      if (this.#complaint !== null && this.#progress === before) {
        log.warn({ target: this.#target }, `hints stay for now: ${this.#complaint}`);
      }
      if (this.#verdict !== null) return this.#verdict;
      if (met === 0) hints.metNone(this.#target, lastTag);
      if (!hints.has(this.#target)) return "done";
      if (this.#progress === before) return "refused";
    }
  }

  /** Sends what is there once. Returns how many hints it has met. */
  async #walk(): Promise<number> {
    const { lsm, clock } = this.#node;
    let met = 0;
    for (let from: string | null = null; this.#verdict === null; ) {
      const { commitsRefused } = lsm;
      const { hints, next }: Awaited<ReturnType<Hints["page"]>> = await this.#node.hints.page(this.#target, from);
      met += hints.length;
      for (let at = 0; at < hints.length && this.#verdict === null; at += BATCH) {
        const parcels = await this.#prepare(hints.slice(at, at + BATCH));
        if (lsm.commitsRefused !== commitsRefused) this.#end("refused");
        await this.#send(parcels);
      }
      if (next === null) break;
      from = next;
      // Where nothing had to be sent, nothing was waited for.
      await pause(clock, 0);
    }
    return met;
  }

  /** What is to be sent for these hints. A mark whose record is gone has nothing to tell, and goes. */
  async #prepare(hints: readonly Hint[]): Promise<readonly Parcel[]> {
    const records = await Promise.all(hints.map((hint) => this.#recordOf(hint)));
    await this.#node.lsm.committed();
    const parcels: Parcel[] = [];
    for (const [at, hint] of hints.entries()) {
      const record = records[at]!;
      if (record === null) await this.#node.hints.remove(hint);
      else if (record === "damaged") continue;
      else if (this.#node.readdressing.isForOwner(hint)) parcels.push({ hint, record });
      else this.#note(await this.#node.readdressing.sendOn(hint));
    }
    return parcels;
  }

  #note(moved: Moved): void {
    if (moved === "full") this.#complaint = "there is no room for those that take their place (hints-max-bytes)";
    else this.#progress++;
  }

  /** One damaged record must not keep those behind it from their target. */
  async #recordOf({ record, dataKey }: Hint): Promise<Uint8Array | null | "damaged"> {
    if (record !== null) return record;
    try {
      const own = await this.#node.lsm.read(dataKey);
      return own === null ? null : forSending(own);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#complaint = error.message;
      return "damaged";
    }
  }

  async #send(parcels: readonly Parcel[]): Promise<void> {
    const { clock, peers } = this.#node;
    for (const parcel of parcels) {
      await this.#turn();
      if (this.#verdict === null && !peers.isUsable(this.#target)) this.#end("gone");
      if (this.#verdict !== null) return;
      this.#bucket.take(parcel.record.length + parcel.hint.dataKey.length);
      this.#window.sent();
      this.#begin(parcel, clock.monotonicMs());
    }
  }

  /** Waits until the window and the rate allow one more. */
  async #turn(): Promise<void> {
    const { clock, settings } = this.#node;
    while (this.#verdict === null) {
      const nowMs = clock.monotonicMs();
      const waitMs = Math.max(this.#window.restMs(nowMs), this.#bucket.waitMs(nowMs, settings.handoffRateBytes));
      if (waitMs > 0) await pause(clock, Math.min(waitMs, WAIT_MS_MAX));
      else if (!this.#window.isOpen(nowMs)) await this.#woken();
      else return;
    }
  }

  #begin({ hint, record }: Parcel, sentMs: number): void {
    const { peers, ring } = this.#node;
    const call: PeerCallHead = {
      to: this.#target,
      kind: ReplicaKind.handover,
      deadlineMs: sentMs + HANDOVER_MS,
      onAnswer: (answer) => this.#onAnswer(hint, answer[0] ?? AnswerStatus.full, sentMs),
      onFailure: (code, text) => this.#onFailure(code, text, sentMs),
    };
    const out = peers.begin(call, storeBytesMax(hint.dataKey, record.length));
    if (out === null) return;
    const store = { ringVersion: ring.version(), hintFor: null, dataKey: hint.dataKey };
    out.at = writeStore(out.bytes, out.at, store, encodedRecordOf(record));
    peers.end();
  }

  #onAnswer(hint: Hint, status: number, sentMs: number): void {
    switch (status) {
      case AnswerStatus.ok:
      case AnswerStatus.uncovered:
        this.#window.acknowledged(this.#node.settings.handoffInFlight);
        if (this.#verdict !== "stopped") background(this.#remove(hint));
        break;
      case AnswerStatus.staleRing:
        this.#window.failed();
        this.#end("stale ring");
        break;
      default:
        this.#window.troubled("refused", { sentMs, nowMs: this.#node.clock.monotonicMs() });
    }
    this.#wakeUp();
  }

  #onFailure(code: PeerFailureCode, text: string, sentMs: number): void {
    const nowMs = this.#node.clock.monotonicMs();
    switch (code) {
      case "TIMEOUT":
      case "LATE":
        this.#window.troubled("slow", { sentMs, nowMs });
        break;
      case "BUSY":
        this.#window.troubled("refused", { sentMs, nowMs });
        break;
      case "UNAVAILABLE":
        this.#window.failed();
        this.#end("gone");
        break;
      default:
        this.#window.failed();
        this.#complaint = text === "" ? code : text;
    }
    this.#wakeUp();
  }

  /** The target took it. Where the disk refuses its removal it stays, and there is no use in going on. */
  async #remove(hint: Hint): Promise<void> {
    this.#removals++;
    try {
      const moved = await this.#node.readdressing.delivered(hint);
      await this.#node.lsm.committed();
      this.#note(moved);
      this.#onDelivered();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#complaint = error.message;
      this.#end("refused");
    } finally {
      this.#removals--;
      this.#wakeUp();
    }
  }

  #end(verdict: Exclude<HandoffOutcome, "done">): void {
    this.#verdict ??= verdict;
    this.#wakeUp();
  }

  /** Resolves at the next answer; each call has a deadline, so there is one. */
  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}
