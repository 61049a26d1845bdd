/**
 * Slots of which a member lacks something that no hint says any more: the hint was dropped, for its age or because there was
 * no room. Anti-entropy is to look at them. A map of bits a member, in memory and as one small record beside the data:
 *
 *     "dirty-slots": format u8 = 1 | (member id 8 bytes | 16384 bits, slot 0 the lowest of the first byte)*
 *
 * What was marked since the record was last written is lost by a crash, with the tail of the log that it would have been in;
 * `save` writes it at once, for those who are about to drop hints.
 */
import { SLOTS } from "../bytes/slot.js";
import { MEMBER_ID_BYTES, type MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { MetaStore } from "./meta-store.js";

const RECORD = "dirty-slots";
const FORMAT = 1;
const MAP_BYTES = SLOTS / 8;
const SAVE_EVERY_MS = 3_000;

export class DirtySlots {
  readonly #meta: MetaStore;
  readonly #clock: Clock;
  readonly #maps = new Map<MemberId, Buffer>();
  #isSaved = true;
  #timer: Timer | null = null;

  /** Throws CORRUPT. */
  constructor({ meta, clock }: { readonly meta: MetaStore; readonly clock: Clock }) {
    this.#meta = meta;
    this.#clock = clock;
    const bytes = meta.get(RECORD);
    if (bytes === null) return;
    if (bytes[0] !== FORMAT) {
      const text = `the record of dirty slots has format ${bytes[0]}; this version of Kindred reads ${FORMAT}`;
      throw new OperatingError("CORRUPT", text);
    }
    if ((bytes.length - 1) % (MEMBER_ID_BYTES + MAP_BYTES) !== 0) {
      throw new OperatingError("CORRUPT", "the record of dirty slots is cut off");
    }
    for (let at = 1; at < bytes.length; at += MEMBER_ID_BYTES + MAP_BYTES) {
      const mapAt = at + MEMBER_ID_BYTES;
      this.#maps.set(bytes.toString("hex", at, mapAt), Buffer.from(bytes.subarray(mapAt, mapAt + MAP_BYTES)));
    }
  }

  /** Members that have any. */
  members(): MemberId[] {
    return [...this.#maps.keys()];
  }

  /** Ascending. */
  *slotsOf(member: MemberId): Generator<number, void, undefined> {
    const map = this.#maps.get(member);
    if (map === undefined) return;
    for (let slot = 0; slot < SLOTS; slot++) if ((map[slot >>> 3]! & (1 << (slot & 7))) !== 0) yield slot;
  }

  /** Over all members. */
  get count(): number {
    let count = 0;
    for (const member of this.#maps.keys()) for (const _ of this.slotsOf(member)) count++;
    return count;
  }

  mark(member: MemberId, slot: number): void {
    let map = this.#maps.get(member);
    if (map === undefined) {
      map = Buffer.alloc(MAP_BYTES);
      this.#maps.set(member, map);
    }
    const bit = 1 << (slot & 7);
    if ((map[slot >>> 3]! & bit) !== 0) return;
    map[slot >>> 3]! |= bit;
    this.#changed();
  }

  /** The slot was compared and repaired. */
  clear(member: MemberId, slot: number): void {
    const map = this.#maps.get(member);
    const bit = 1 << (slot & 7);
    if (map === undefined || (map[slot >>> 3]! & bit) === 0) return;
    map[slot >>> 3]! &= ~bit;
    if (map.every((byte) => byte === 0)) this.#maps.delete(member);
    this.#changed();
  }

  /** The member is gone for good. */
  forget(member: MemberId): void {
    if (this.#maps.delete(member)) this.#changed();
  }

  /** Puts the record into this turn's batch, if it is not what is stored. */
  save(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#isSaved) return;
    this.#isSaved = true;
    const parts = [Buffer.of(FORMAT)];
    for (const [member, map] of this.#maps) parts.push(Buffer.from(member, "hex"), Buffer.from(map));
    this.#meta.put(RECORD, Buffer.concat(parts));
  }

  #changed(): void {
    this.#isSaved = false;
    this.#timer ??= this.#clock.after(SAVE_EVERY_MS, () => this.save());
  }
}
