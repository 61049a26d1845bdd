/**
 * This member takes in what the change of the ring that is under way gives it, whatever that change is and whoever drives it:
 * begins as soon as the ring is known here, tries again when it fails, goes on after a restart with the slots that are left, and
 * gives up when another change is under way. The driver asks each member that gains slots how far it is (IntakeProgress).
 *
 * Which slots are done is stored behind their records, so that after a crash either both are there or the slot is read again:
 *
 *     "intake": format u8 = 1 | change: length varint, text | 16384 bits, slot 0 the lowest of the first byte
 */
import { background } from "../background.js";
import { crc32 } from "../bytes/crc32.js";
import { SLOTS } from "../bytes/slot.js";
import { varintLength, writeVarint } from "../bytes/varint.js";
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { comingMember, goingMember, isForced } from "../cluster/ring-document.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Peers } from "../peer/peer.js";
import type { Fence } from "./fence.js";
import type { MetaStore } from "./meta-store.js";
import { planTransfer, pullRanges, type TransferOptions, type TransferProgress } from "./range-transfer.js";

/** How far a member is with what a change gives it. */
export interface IntakeProgress extends TransferProgress {
  /** It holds all that it is to own, on its disk. */
  readonly isDone: boolean;
}

export interface SlotIntakeOptions {
  readonly selfId: MemberId;
  readonly peers: Pick<Peers, "call" | "isUsable">;
  readonly clock: Clock;
  readonly log: Log;
  readonly meta: MetaStore;
  readonly settings: TransferOptions["settings"];
  readonly store: TransferOptions["store"];
  /** Counts each attempt. */
  readonly carrying: Fence;
  /** Goes on as a new actor, and makes all that is stored durable: this store may have minted dots of these keys before. Throws IO. */
  readonly beginEpoch: () => void;
}

const RECORD = "intake";
const FORMAT = 1;
const MAP_BYTES = SLOTS / 8;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15_000;
const NOTHING_TO_DO: IntakeProgress = { isDone: true, slotsDone: 0, slots: 0, records: 0, bytes: 0 };

/** With this turn: a store that goes on as another member takes in all of its slots. */
export function forgetIntake(meta: Pick<MetaStore, "remove">): void {
  meta.remove(RECORD);
}

/** The change that slots are taken in for. */
interface Intake {
  readonly change: string;
  readonly ring: Ring;
  readonly done: Buffer;
  progress: IntakeProgress;
}

export class SlotIntake {
  readonly #options: SlotIntakeOptions;
  #intake: Intake | null = null;
  #ring: Ring | null = null;
  #ringVersion = 0;
  #running: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(options: SlotIntakeOptions) {
    this.#options = options;
  }

  /** Takes in what this ring is about to give this member; gives up what an earlier one was. */
  update(ring: Ring): void {
    this.#ringVersion = ring.document.version;
    this.#noteGainedUnawares(ring);
    const change = changeOf(ring);
    if (this.#isStopped || change === this.#intake?.change) return;
    const self = ring.indexOf(this.#options.selfId);
    const slots = self === null ? 0 : planTransfer(ring, self).reduce((sum, piece) => sum + piece.slots.length, 0);
    if (change === null || slots === 0) {
      this.#intake = null;
      return;
    }
    const progress = { isDone: false, slotsDone: 0, slots, records: 0, bytes: 0 };
    const intake: Intake = { change, ring, done: this.#stored(change), progress };
    this.#intake = intake;
    // One at a time: the one before notices that it is overtaken.
    this.#running = this.#running.then(() => this.#run(intake));
    background(this.#running);
  }

  /** How far this member is with the change that is under way in the ring of this version; null where that is not known here. */
  progress(ringVersion: number): IntakeProgress | null {
    if (ringVersion > this.#ringVersion) return null;
    return this.#intake?.progress ?? NOTHING_TO_DO;
  }

  /** Of what is under way; null for nothing. */
  get current(): IntakeProgress | null {
    return this.#intake?.progress ?? null;
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /**
   * A forced ring may make this member an owner of slots that it has not taken in. It goes on as a new actor then, since it may have
   * minted dots of these keys before that it does not hold; anti-entropy brings what others hold.
   */
  #noteGainedUnawares(ring: Ring): void {
    const { selfId, beginEpoch, log } = this.#options;
    const before = this.#ring;
    this.#ring = ring;
    if (before === null || before === ring) return;
    const slots = slotsGainedUnawares(before, ring, selfId);
    if (slots === 0) return;
    log.warn(
      { slots },
      "this member owns slots that it has not taken in: what other owners hold of them comes by anti-entropy",
    );
    try {
      beginEpoch();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      // After that nothing more is acknowledged, and the next start begins an epoch.
      log.error({ code: error.code }, `a new epoch could not be begun: ${messageOf(error)}`);
    }
  }

  async #run(intake: Intake): Promise<void> {
    const { clock, log } = this.#options;
    let retryMs = RETRY_MS_MIN;
    // Begins in a turn of its own: whoever else has to know of the ring is told first.
    await pause(clock, 0);
    while (!this.#isOvertaken(intake)) {
      try {
        await this.#options.carrying.during(() => this.#takeIn(intake));
        return;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        if (this.#isOvertaken(intake)) return;
        log.warn({ code: error.code }, `taking in slots failed, and is tried again: ${messageOf(error)}`);
      }
      await pause(clock, retryMs);
      retryMs = Math.min(2 * retryMs, RETRY_MS_MAX);
    }
  }

  async #takeIn(intake: Intake): Promise<void> {
    const { peers, clock, log, settings, store, selfId, meta, beginEpoch } = this.#options;
    const { ring, done, change } = intake;
    const sinceMs = clock.monotonicMs();
    const result = await pullRanges({
      ring,
      selfIndex: ring.indexOf(selfId)!,
      peers,
      clock,
      log,
      settings,
      store,
      isCancelled: () => this.#isOvertaken(intake),
      isDone: (slot) => hasBit(done, slot),
      onDone: (slots, progress) => {
        for (const slot of slots) done[slot >>> 3]! |= 1 << (slot & 7);
        intake.progress = { isDone: false, ...progress };
        meta.put(RECORD, encode(change, done));
      },
    });
    if (this.#isOvertaken(intake)) return;
    const { slotsInDoubt, ...progress } = result;
    if (slotsInDoubt > 0) {
      const lack = "what fewer than a majority of them had may be missing here";
      log.warn({ slots: slotsInDoubt }, `not all owners of some slots could be read; ${lack}`);
    }
    beginEpoch();
    intake.progress = { isDone: true, ...progress };
    const { slots, records, bytes } = progress;
    log.info(
      { slots, records, bytes, tookMs: Math.round(clock.monotonicMs() - sinceMs) },
      "took in the slots that this member is to own",
    );
  }

  #isOvertaken(intake: Intake): boolean {
    return this.#isStopped || this.#intake !== intake;
  }

  /** Slots that were taken in before a restart. */
  #stored(change: string): Buffer {
    const bytes = this.#options.meta.get(RECORD);
    const done = Buffer.alloc(MAP_BYTES);
    const head = encode(change, Buffer.alloc(0));
    if (bytes === null || bytes.length !== head.length + MAP_BYTES || !bytes.subarray(0, head.length).equals(head)) return done;
    bytes.copy(done, 0, head.length);
    return done;
  }
}

/** Slots that the member owns by `after`, and by `before` neither owned nor was about to. */
function slotsGainedUnawares(before: Ring, after: Ring, member: MemberId): number {
  const [was, is] = [before.indexOf(member), after.indexOf(member)];
  if (is === null) return 0;
  let slots = 0;
  for (let slot = 0; slot < SLOTS; slot++) {
    if (!after.current.isReplica(slot, is)) continue;
    const isKnown = was !== null && (before.current.isReplica(slot, was) || before.owners(slot).new.includes(was));
    if (!isKnown) slots++;
  }
  return slots;
}

/**
 * A name for the change that is under way, and for the members whose slots it changes: where one was removed meanwhile, others are
 * to be read. Null for none.
 */
function changeOf({ change, document }: Ring): string | null {
  if (change === null) return null;
  const ids = Buffer.from(document.members.map(({ id }) => id).join(), "latin1");
  const subject = comingMember(change)?.id ?? goingMember(change);
  const how = isForced(change) ? "forced " : "";
  return `${how}${change.kind} ${subject} since ${change.since} beside ${crc32(ids, 0, ids.length)}`;
}

function encode(change: string, done: Buffer): Buffer {
  const text = Buffer.from(change);
  const head = Buffer.alloc(1 + varintLength(text.length));
  head[0] = FORMAT;
  writeVarint(head, 1, text.length);
  return Buffer.concat([head, text, done]);
}

function hasBit(map: Buffer, slot: number): boolean {
  return (map[slot >>> 3]! & (1 << (slot & 7))) !== 0;
}
