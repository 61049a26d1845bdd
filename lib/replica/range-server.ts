/**
 * Reads the records of slots out to a member that is to own them: some hundred kilobytes an answer, in the order of their
 * keys, of all databases.
 *
 * A request names the ring in which its sender is to own the slots, and is refused until that is known here too: from then
 * on writes go to the sender as well, so that it misses nothing that is stored behind the place where it reads.
 */
import { background } from "../background.js";
import { SLOTS } from "../bytes/slot.js";
import { forSending } from "../causality/record-encoding.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Lsm } from "../lsm/lsm.js";
import type { PeerRequest } from "../peer/peer.js";
import { DATA_END, dataKeyFloor, slotOfDataKey } from "./data-key.js";
import { AnswerStatus, decodeRangeRequest, encodeRangePage, type RangePage, type RangeRequest } from "./replica-messages.js";

const PAGE_RECORDS = 1_000;
const PAGE_BYTES = 262_144;
/** An answer that was looked for so long goes out with what there is, so that it is in time. */
const ANSWER_MS_MAX = 100;
/** Work between two turns of others. */
const SLICE_MS = 3;
/** Pages that are read at once. Past it a request is refused with BUSY. */
const READING_MAX = 16;

export interface RangeServerOptions {
  readonly lsm: Pick<Lsm, "scan" | "committed" | "commitsRefused">;
  readonly clock: Clock;
  /** The version of the ring that is known here, and after which writes go. */
  readonly ringVersion: () => number;
}

export class RangeServer {
  readonly #options: RangeServerOptions;
  #reading = 0;

  constructor(options: RangeServerOptions) {
    this.#options = options;
  }

  /** Answers a request of kind `ReplicaKind.range`. Throws CORRUPT. */
  serve(request: PeerRequest): void {
    const range = decodeRangeRequest(request.payload);
    if (range.ringVersion > this.#options.ringVersion()) request.answer(Buffer.of(AnswerStatus.staleRing));
    else if (this.#reading >= READING_MAX) request.refuse("BUSY", "too many ranges are read out at once");
    else background(this.#answer(request, range));
  }

  async #answer(request: PeerRequest, range: RangeRequest): Promise<void> {
    const { lsm } = this.#options;
    const { commitsRefused } = lsm;
    this.#reading++;
    try {
      const page = await this.#page(range);
      // What the log refuses is taken back here, and must not live there.
      await lsm.committed();
      if (lsm.commitsRefused === commitsRefused) request.answer(encodeRangePage(page));
      else request.refuse("FAILED", "the disk of this member refuses writes");
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    } finally {
      this.#reading--;
    }
  }

  /** Rejects with IO or CORRUPT. */
  async #page({ slots, from }: RangeRequest): Promise<RangePage> {
    const { lsm, clock } = this.#options;
    const records: { dataKey: string; record: Uint8Array }[] = [];
    let bytes = 0;
    const startedMs = clock.monotonicMs();
    let sliceMs = startedMs;
    for (const span of spansOf(slots, from)) {
      const limit = PAGE_RECORDS - records.length;
      const nowMs = clock.monotonicMs();
      const isLong = limit === 0 || bytes >= PAGE_BYTES || nowMs - startedMs >= ANSWER_MS_MAX;
      if (isLong) return { records, next: span.from };
      if (nowMs - sliceMs >= SLICE_MS) {
        await pause(clock, 0);
        sliceMs = clock.monotonicMs();
      }
      const { entries, next } = await lsm.scan({ ...span, limit, values: "with", bytesMax: PAGE_BYTES - bytes });
      for (const { key, value } of entries) {
        const record = forSending(value!);
        records.push({ dataKey: key, record });
        bytes += key.length + record.length;
      }
      if (next !== null) return { records, next };
    }
    return { records, next: null };
  }
}

/** The stretches of the data space in which the slots lie, from a key on. */
function* spansOf(slots: readonly number[], from: string | null): Generator<{ from: string; to: string }, void, undefined> {
  const first = from === null ? 0 : slotOfDataKey(from);
  for (let at = 0; at < slots.length; ) {
    const start = slots[at]!;
    let end = start + 1;
    for (at++; slots[at] === end; at++) end++;
    if (end <= first) continue;
    const floor = dataKeyFloor(start, 0, 0);
    yield { from: from !== null && from > floor ? from : floor, to: end === SLOTS ? DATA_END : dataKeyFloor(end, 0, 0) };
  }
}
