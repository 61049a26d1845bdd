/**
 * A member takes in the records of the slots that the pending change gives it. Of each slot it reads from the owner that it
 * displaces, whose copy it replaces: with every quorum of the old owners the new ones then form one that knows the same.
 * Where nobody is displaced (the ring has fewer members than copies), it reads from all old owners that answer; likewise where
 * that owner cannot be had, but then as many have to answer as know together all that a majority had.
 *
 * Records are merged, so what is read twice, or was written meanwhile, does no harm. Slots are asked for in batches: those
 * without records cost next to nothing. One that was cut off goes on with the slots that are left (slot-intake.ts).
 */
import { assert } from "../assert.js";
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { isForced } from "../cluster/ring-document.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import { PeerCallError, type Peers } from "../peer/peer.js";
import { AnswerStatus, decodeRangePage, encodeRangeRequest, type RangePage, ReplicaKind } from "./replica-messages.js";
import { TokenBucket } from "./token-bucket.js";

/** Slots of one piece of work; their records are read one page after the other. */
const SLOTS_PER_PIECE = 512;
const PIECES_IN_FLIGHT = 8;
/** Merged between two turns of others: a few milliseconds of work. */
const RECORDS_PER_SLICE = 128;
const CALL_MS = 5_000;
/** The wait before an owner is asked again: doubles from the first to the second. */
const BACK_OFF_MS_MIN = 50;
const BACK_OFF_MS_MAX = 1_000;

export interface TransferOptions {
  readonly ring: Ring;
  /** This node's index in the ring. */
  readonly selfIndex: number;
  readonly peers: Pick<Peers, "call" | "isUsable">;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: {
    /** Bytes of records a second. Read at each use. */
    readonly transferRateBytes: number;
    /** How long an owner may give nothing, in milliseconds, before it is done without. */
    readonly patienceMs: number;
  };
  /** Merges a record into this node's copy, and resolves when that is stored. `bytes` stay valid until then. */
  readonly store: (dataKey: string, bytes: Uint8Array, start: number, end: number) => Promise<void>;
  /** Slots that were taken in before, by this change of the ring. */
  readonly isDone?: (slot: number) => boolean;
  /** These slots are taken in. */
  readonly onDone?: (slots: readonly number[], progress: TransferProgress) => void;
  /** Asked between pages: true ends the transfer. */
  readonly isCancelled?: () => boolean;
}

export interface TransferProgress {
  readonly slotsDone: number;
  readonly slots: number;
  /** Read so far, those read twice included. */
  readonly records: number;
  readonly bytes: number;
}

export interface TransferResult extends TransferProgress {
  /** Slots whose displaced owner, or the majority of whose old owners, did not answer: they may lack writes that only few had. */
  readonly slotsInDoubt: number;
}

/** Slots that are read from the same members, indexes into the ring. */
export interface TransferPiece {
  readonly slots: readonly number[];
  /** Whose copy this node's replaces; null where it is one more. */
  readonly displaced: number | null;
  /** The other old owners. */
  readonly others: readonly number[];
}

/** What a member has to read when the pending change of a ring gives it slots; nothing without one. Pure. */
export function planTransfer(ring: Ring, selfIndex: number): TransferPiece[] {
  const bySources = new Map<string, { slots: number[]; displaced: number | null; others: number[] }>();
  for (const slot of ring.changingSlots()) {
    const owners = ring.owners(slot);
    if (owners.old.includes(selfIndex) || !owners.new.includes(selfIndex)) continue;
    const gained = [...owners.new].filter((member) => !owners.old.includes(member));
    const lost = [...owners.old].filter((member) => !owners.new.includes(member));
    const displaced = lost[gained.indexOf(selfIndex)] ?? null;
    const others = [...owners.old].filter((member) => member !== displaced).sort((a, b) => a - b);
    const sources = `${displaced}|${others}`;
    const piece = bySources.get(sources) ?? { slots: [], displaced, others };
    piece.slots.push(slot);
    bySources.set(sources, piece);
  }
  return [...bySources.values()].flatMap(cutIntoPieces);
}

/**
 * Whether those of the other old owners that were read (`read`) know all that a majority of the old owners had, the displaced
 * one counted: then more than half of them were, of all and of those in its data centre, where majorities are counted too. Pure.
 */
export function doWithoutDisplaced(owners: {
  readonly displaced: number;
  readonly others: readonly number[];
  readonly read: readonly number[];
  readonly centreOf: (owner: number) => string;
}): boolean {
  const { displaced, others, read, centreOf } = owners;
  const isNear = (owner: number): boolean => centreOf(owner) === centreOf(displaced);
  return isMajority(read, others) && isMajority(read.filter(isNear), others.filter(isNear));
}

function isMajority(part: readonly number[], whole: readonly number[]): boolean {
  return whole.length === 0 || 2 * part.length > whole.length;
}

function cutIntoPieces({ slots, displaced, others }: TransferPiece): TransferPiece[] {
  const pieces: TransferPiece[] = [];
  for (let at = 0; at < slots.length; at += SLOTS_PER_PIECE) {
    pieces.push({ slots: slots.slice(at, at + SLOTS_PER_PIECE), displaced, others });
  }
  return pieces;
}

/**
 * Reads all slots that this node is to own. Rejects with UNAVAILABLE when one could not be had from enough of its owners, with
 * what `store` rejects with, and with CLOSED when it was cancelled.
 */
export function pullRanges(options: TransferOptions): Promise<TransferResult> {
  return new Transfer(options).run();
}

/** An old owner, as the transfer knows it. */
interface Source {
  readonly id: MemberId;
  readonly name: string;
  /** Monotonic time at which it last gave something. */
  heardMs: number;
  /** It has used up the patience there is, and gave nothing since. */
  isLost: boolean;
  /** Why it was done without, told once. */
  complaint: string | null;
}

class Transfer {
  readonly #options: TransferOptions;
  readonly #pieces: readonly TransferPiece[];
  readonly #sources = new Map<number, Source>();
  readonly #bucket = new TokenBucket();
  readonly #slots: number;
  readonly #gone: number | null;
  #slotsDone = 0;
  #slotsInDoubt = 0;
  #records = 0;
  #bytes = 0;
  /** The first thing that ended it; the other pieces stop then. */
  #failure: unknown = null;
  /** The slice that is being stored, and those that wait for it. */
  #storing: Promise<unknown> = Promise.resolve();

  constructor(options: TransferOptions) {
    this.#options = options;
    const { ring, selfIndex, isDone = () => false } = options;
    const pieces = planTransfer(ring, selfIndex);
    this.#slots = pieces.reduce((sum, piece) => sum + piece.slots.length, 0);
    const left = pieces.map((piece) => ({ ...piece, slots: piece.slots.filter((slot) => !isDone(slot)) }));
    this.#pieces = left.filter(({ slots }) => slots.length > 0);
    this.#slotsDone = this.#slots - left.reduce((sum, piece) => sum + piece.slots.length, 0);
    // Who is gone for good is not waited for.
    const { change } = ring;
    this.#gone = change?.kind === "remove" || change?.kind === "replace" ? ring.indexOf(change.memberId) : null;
  }

  async run(): Promise<TransferResult> {
    const waiting = [...this.#pieces];
    const work = async (): Promise<void> => {
      for (let piece = waiting.shift(); piece !== undefined && this.#failure === null; piece = waiting.shift()) {
        await this.#take(piece);
        this.#slotsDone += piece.slots.length;
        this.#options.onDone?.(piece.slots, this.#progress());
      }
    };
    const workers = Array.from({ length: PIECES_IN_FLIGHT }, () =>
      work().catch((error: unknown) => {
        this.#failure ??= error;
      }),
    );
    await Promise.all(workers);
    if (this.#failure !== null) throw this.#failure;
    return { ...this.#progress(), slotsInDoubt: this.#slotsInDoubt };
  }

  #progress(): TransferProgress {
    return { slotsDone: this.#slotsDone, slots: this.#slots, records: this.#records, bytes: this.#bytes };
  }

  async #take({ slots, displaced, others }: TransferPiece): Promise<void> {
    if (displaced !== null && displaced !== this.#gone) {
      const source = this.#sourceAt(displaced);
      if (await this.#readFrom(source, slots)) return;
      this.#options.log.warn(
        { owner: source.id, slots: slots.length },
        `${source.name} gives up slots and cannot be read; the other owners are read instead`,
      );
    }
    if (others.length === 0) {
      // Nobody else had a copy.
      assert(displaced !== null, "transfer: a slot has an owner");
      if (displaced !== this.#gone && !this.#mayDoWithout([displaced])) {
        throw new OperatingError("UNAVAILABLE", this.#tooFewHave(slots, [displaced]));
      }
      this.#slotsInDoubt += slots.length;
      return;
    }
    const answers = await Promise.all(others.map((other) => this.#readFrom(this.#sourceAt(other), slots)));
    const read = others.filter((_, at) => answers[at]);
    const { members } = this.#options.ring;
    const isEnough =
      displaced === null || doWithoutDisplaced({ displaced, others, read, centreOf: (owner) => members[owner]!.dc });
    if (read.length === 0 || !isEnough) {
      const missed = others.filter((other) => !read.includes(other));
      const all = displaced === null ? missed : [displaced, ...missed];
      if (!this.#mayDoWithout(all)) throw new OperatingError("UNAVAILABLE", this.#tooFewHave(slots, all));
    }
    // What nobody but a member that is gone had is no doubt: it is lost.
    const isGone = displaced !== null && displaced === this.#gone;
    const isWhole = isGone ? read.length === others.length : displaced === null && isMajority(read, others);
    if (!isWhole) this.#slotsInDoubt += slots.length;
  }

  /** An operator wants the change done without members that are down, and these are: what was on them only is lost. */
  #mayDoWithout(owners: readonly number[]): boolean {
    const { ring, peers } = this.#options;
    if (ring.change === null || !isForced(ring.change)) return false;
    return owners.every((owner) => owner === this.#gone || !peers.isUsable(ring.members[owner]!.id));
  }

  #tooFewHave(slots: readonly number[], missed: readonly number[]): string {
    const complaints = missed.map((owner) => {
      const { name, complaint } = this.#sourceAt(owner);
      return `${name}: ${complaint ?? "no answer"}`;
    });
    return `${slots.length} slots (${slots[0]} and others) could not be read from enough of their owners (${complaints.join("; ")})`;
  }

  #sourceAt(index: number): Source {
    let source = this.#sources.get(index);
    if (source === undefined) {
      const { id, name } = this.#options.ring.members[index]!;
      source = { id, name, heardMs: this.#options.clock.monotonicMs(), isLost: false, complaint: null };
      this.#sources.set(index, source);
    }
    return source;
  }

  /** Reads all records of the slots from one owner. False when it was not to be had. */
  async #readFrom(source: Source, slots: readonly number[]): Promise<boolean> {
    for (let from: string | null = null; ; ) {
      const page: RangePage | null = await this.#page(source, slots, from);
      if (page === null) return false;
      await this.#storeAll(page.records);
      if (page.next === null) return true;
      from = page.next;
    }
  }

  /** Slice by slice, whichever piece they are of: what is asked of this node meanwhile goes between. */
  async #storeAll(records: RangePage["records"]): Promise<void> {
    for (let at = 0; at < records.length; at += RECORDS_PER_SLICE) {
      const slice = records.slice(at, at + RECORDS_PER_SLICE);
      const stored = this.#storing.then(() => Promise.all(slice.map(({ dataKey, record }) => this.#store(dataKey, record))));
      this.#storing = stored.catch(() => undefined);
      await stored;
    }
  }

  async #store(dataKey: string, record: Uint8Array): Promise<void> {
    this.#records++;
    this.#bytes += record.length;
    this.#bucket.take(dataKey.length + record.length);
    await this.#options.store(dataKey, record, 0, record.length);
  }

  /** One page, asked for as often as patience allows; null when it was not to be had. */
  async #page(source: Source, slots: readonly number[], from: string | null): Promise<RangePage | null> {
    const { clock, settings } = this.#options;
    const startedMs = clock.monotonicMs();
    for (let backOffMs = BACK_OFF_MS_MIN; ; backOffMs = Math.min(2 * backOffMs, BACK_OFF_MS_MAX)) {
      await this.#turn();
      const page = await this.#ask(source, slots, from);
      if (page !== null) {
        source.heardMs = clock.monotonicMs();
        source.isLost = false;
        return page;
      }
      const sinceMs = source.isLost ? source.heardMs : Math.max(source.heardMs, startedMs);
      if (clock.monotonicMs() - sinceMs >= settings.patienceMs) {
        source.isLost = true;
        return null;
      }
      await pause(clock, backOffMs);
    }
  }

  /** Waits until the rate allows more. Rejects when the transfer has ended. */
  async #turn(): Promise<void> {
    const { clock, settings, isCancelled } = this.#options;
    for (;;) {
      if (isCancelled?.() === true) throw new OperatingError("CLOSED", "the transfer of slots was cancelled");
      if (this.#failure !== null) throw this.#failure;
      const waitMs = this.#bucket.waitMs(clock.monotonicMs(), settings.transferRateBytes);
      if (waitMs === 0) return;
      await pause(clock, Math.min(waitMs, BACK_OFF_MS_MAX));
    }
  }

  async #ask(source: Source, slots: readonly number[], from: string | null): Promise<RangePage | null> {
    const { clock, peers, ring } = this.#options;
    if (!peers.isUsable(source.id)) {
      source.complaint = "there is no link to it";
      return null;
    }
    const payload = encodeRangeRequest({ ringVersion: ring.document.version, slots, from });
    const deadlineMs = clock.monotonicMs() + CALL_MS;
    try {
      const answer = await peers.call({ to: source.id, kind: ReplicaKind.range, payload, deadlineMs });
      if (answer[0] === AnswerStatus.ok) {
        const page = decodeRangePage(answer);
        if (page.next === null || from === null || page.next > from) return page;
        throw new OperatingError("CORRUPT", "a page does not go on from where it was asked for");
      }
      source.complaint = "it does not know of the change of the ring yet";
    } catch (error) {
      if (!(error instanceof PeerCallError) && !(error instanceof OperatingError && error.code === "CORRUPT")) throw error;
      source.complaint = messageOf(error);
    }
    return null;
  }
}
