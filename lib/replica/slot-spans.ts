/**
 * Stretches of slots, and how they stand in messages between members: the number of stretches, then for each how many slots
 * it lies behind the end of the one before (the first: behind slot 0) and how many it has, all varints.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";

/** Slots from `first` to before `end`; never empty. */
export interface SlotSpan {
  readonly first: number;
  readonly end: number;
}

/** Every slot there is. */
export const ALL_SLOTS: readonly SlotSpan[] = [{ first: 0, end: SLOTS }];

/** Adds a slot behind all that are in `spans`. */
export function addSlot(spans: { first: number; end: number }[], slot: number): void {
  const last = spans.at(-1);
  assert(last === undefined || last.end <= slot, "slots: ascending, each once");
  if (last?.end === slot) last.end++;
  else spans.push({ first: slot, end: slot + 1 });
}

/** Stretches of these slots, which are ascending, each once. */
export function spansOf(slots: Iterable<number>): SlotSpan[] {
  const spans: { first: number; end: number }[] = [];
  for (const slot of slots) addSlot(spans, slot);
  return spans;
}

/** Each slot of these stretches. */
export function* slotsOf(spans: readonly SlotSpan[]): Generator<number, void, undefined> {
  for (const { first, end } of spans) for (let slot = first; slot < end; slot++) yield slot;
}

export function spansLength(spans: readonly SlotSpan[]): number {
  let length = varintLength(spans.length);
  let next = 0;
  for (const { first, end } of spans) {
    length += varintLength(first - next) + varintLength(end - first);
    next = end;
  }
  return length;
}

/** Returns the position after them. */
export function writeSpans(target: Buffer, start: number, spans: readonly SlotSpan[]): number {
  let at = writeVarint(target, start, spans.length);
  let next = 0;
  for (const { first, end } of spans) {
    at = writeVarint(target, writeVarint(target, at, first - next), end - first);
    next = end;
  }
  return at;
}

/** At least one, ascending. Throws CORRUPT. */
export function readSpans(bytes: Buffer, cursor: Cursor): SlotSpan[] {
  const spans: SlotSpan[] = [];
  let next = 0;
  for (let left = readVarint(bytes, cursor, bytes.length); left > 0; left--) {
    const first = next + readVarint(bytes, cursor, bytes.length);
    const end = first + readVarint(bytes, cursor, bytes.length);
    if (end > SLOTS || end === first) {
      throw new OperatingError("CORRUPT", "a message of a peer names slots that there are not");
    }
    spans.push({ first, end });
    next = end;
  }
  if (spans.length === 0) throw new OperatingError("CORRUPT", "a message of a peer is about no slot");
  return spans;
}
