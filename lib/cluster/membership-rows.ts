/**
 * Stamps as rows of bytes: the form in which they are compared, kept and sent. A table of rows ascending by id is a digest,
 * so that sending one is a copy and comparing two is one walk.
 *
 *     id 8 bytes | generation u48 | heartbeat u32 | changed u32            big-endian
 */
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";
import type { MemberId } from "./member.js";
import { GENERATION_MAX, idBytes, type MemberStamp } from "./member-entry.js";

export const ROW_BYTES = 22;
const GENERATION_AT = 8;
const HEARTBEAT_AT = 14;
const CHANGED_AT = 18;

/** Rows in bytes that somebody owns. Positions are of rows, from 0. */
export class Rows {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly length: number;

  /** `bytes` is borrowed. REQUIRES whole rows. */
  constructor(bytes: Buffer) {
    assert(bytes.length % ROW_BYTES === 0, "rows: whole rows");
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.length = bytes.length / ROW_BYTES;
  }

  idAt(row: number): MemberId {
    return this.bytes.toString("hex", row * ROW_BYTES, row * ROW_BYTES + GENERATION_AT);
  }

  stampAt(row: number): MemberStamp {
    return {
      id: this.idAt(row),
      generation: this.generationAt(row),
      heartbeat: this.heartbeatAt(row),
      changed: this.changedAt(row),
    };
  }

  generationAt(row: number): number {
    const at = row * ROW_BYTES + GENERATION_AT;
    return this.view.getUint16(at) * 2 ** 32 + this.view.getUint32(at + 2);
  }

  heartbeatAt(row: number): number {
    return this.view.getUint32(row * ROW_BYTES + HEARTBEAT_AT);
  }

  changedAt(row: number): number {
    return this.view.getUint32(row * ROW_BYTES + CHANGED_AT);
  }

  setHeartbeat(row: number, heartbeat: number): void {
    this.view.setUint32(row * ROW_BYTES + HEARTBEAT_AT, heartbeat);
  }

  /** Writes a stamp over a row. */
  set(row: number, stamp: MemberStamp): void {
    assert(stamp.generation >= 1 && stamp.generation <= GENERATION_MAX + 1, "rows: a generation within its bound");
    const at = row * ROW_BYTES;
    this.bytes.set(idBytes(stamp.id), at);
    this.view.setUint16(at + GENERATION_AT, Math.floor(stamp.generation / 2 ** 32));
    this.view.setUint32(at + GENERATION_AT + 2, stamp.generation % 2 ** 32);
    this.view.setUint32(at + HEARTBEAT_AT, stamp.heartbeat);
    this.view.setUint32(at + CHANGED_AT, stamp.changed);
  }

  /** Copies a row of `source` to a row of these. */
  copyRow(source: Rows, from: number, to: number): void {
    const read = source.view;
    const write = this.view;
    const a = from * ROW_BYTES;
    const b = to * ROW_BYTES;
    for (let offset = 0; offset < 20; offset += 4) write.setUint32(b + offset, read.getUint32(a + offset));
    write.setUint16(b + 20, read.getUint16(a + 20));
  }

  /** How the id of a row stands to that of a row of `other`: negative, 0 or positive. */
  compareIds(row: number, other: Rows, otherRow: number): number {
    const a = row * ROW_BYTES;
    const b = otherRow * ROW_BYTES;
    const high = this.view.getUint32(a) - other.view.getUint32(b);
    return high !== 0 ? high : this.view.getUint32(a + 4) - other.view.getUint32(b + 4);
  }

  /** The first row, of those ascending by id and before `end`, whose id is above `id`. */
  firstAbove(id: MemberId, end = this.length): number {
    const key = idBytes(id);
    let low = 0;
    let high = end;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = middle * ROW_BYTES;
      if (this.bytes.compare(key, 0, GENERATION_AT, at, at + GENERATION_AT) > 0) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/**
 * Throws CORRUPT unless every row is one that a member writes and, where `ascending`, ids ascend.
 * So whoever walks over checked rows need not look again.
 */
export function checkRows(rows: Rows, ascending: boolean): void {
  for (let row = 0; row < rows.length; row++) {
    const heartbeat = rows.heartbeatAt(row);
    const changed = rows.changedAt(row);
    const generation = rows.generationAt(row);
    const at = row * ROW_BYTES;
    const isNobody = rows.view.getUint32(at) === 0 && rows.view.getUint32(at + 4) === 0;
    if (isNobody || changed < 1 || changed > heartbeat || generation < 1 || generation > GENERATION_MAX) {
      throw new OperatingError("CORRUPT", "a gossip message has a stamp that no member writes");
    }
    if (ascending && row > 0 && rows.compareIds(row - 1, rows, row) >= 0) {
      throw new OperatingError("CORRUPT", "a gossip message has stamps out of order");
    }
  }
}
