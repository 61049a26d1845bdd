/**
 * Parts that the cluster's formats are made of: numbers, sized texts, and tagged fields. Every length is checked against
 * what is there before anything is made of it. Readers throw CORRUPT.
 */
import { assert } from "../assert.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import type { UnknownField } from "./member.js";

/** Collects (tag varint, length varint, bytes)*, tags ascending. */
export class FieldWriter {
  readonly #parts: Buffer[] = [];
  #last = 0;

  add(tag: number, ...parts: readonly Buffer[]): void {
    assert(tag > this.#last, "fields: tags ascend");
    this.#last = tag;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    this.#parts.push(varint(tag), varint(length), ...parts);
  }

  finish(unknown: readonly UnknownField[] = []): Buffer {
    for (const field of unknown) this.add(field.tag, field.bytes);
    return Buffer.concat(this.#parts);
  }
}

/** Reads what FieldWriter wrote, field by field; what is left over at the end is unknown. */
export class FieldReader {
  readonly #fields = new Map<number, Buffer>();

  constructor(bytes: Buffer) {
    const part = new PartReader(bytes);
    let last = 0;
    while (!part.isAtEnd) {
      const tag = part.varint();
      if (tag <= last) throw corrupt("its fields are not in order");
      last = tag;
      this.#fields.set(tag, part.sized());
    }
  }

  has(tag: number): boolean {
    return this.#fields.has(tag);
  }

  take(tag: number): PartReader {
    const bytes = this.#fields.get(tag);
    if (bytes === undefined) throw corrupt(`field ${tag} is missing`);
    this.#fields.delete(tag);
    return new PartReader(bytes);
  }

  /** What is left, to be spread into what was read. Fields up to tag `known` are of this version: none may be left. */
  unknown(known: number): { unknown?: readonly UnknownField[] } {
    if (this.#fields.size === 0) return {};
    for (const tag of this.#fields.keys()) if (tag <= known) throw corrupt(`field ${tag} does not belong there`);
    return { unknown: [...this.#fields].map(([tag, bytes]) => ({ tag, bytes: Buffer.from(bytes) })) };
  }
}

export class PartReader {
  readonly #bytes: Buffer;
  readonly #cursor: Cursor = { at: 0 };

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#cursor.at === this.#bytes.length;
  }

  varint(): number {
    return readVarint(this.#bytes, this.#cursor, this.#bytes.length);
  }

  /** Passes over the number of a format. Throws CORRUPT where that is not the one that `what` has. */
  format(what: string, expected: number): void {
    const found = this.varint();
    if (found !== expected) throw corrupt(`${what} has format ${found}; this version of Kindred reads ${expected}`);
  }

  lastVarint(): number {
    const value = this.varint();
    if (!this.isAtEnd) throw corrupt("a field is longer than its number");
    return value;
  }

  fixed(length: number): Buffer {
    const { at } = this.#cursor;
    if (length > this.#bytes.length - at) throw corrupt("a field is cut off");
    this.#cursor.at = at + length;
    return this.#bytes.subarray(at, at + length);
  }

  sized(): Buffer {
    return this.fixed(this.varint());
  }

  /** Throws CORRUPT when anything is left. */
  end(): void {
    if (!this.isAtEnd) throw corrupt("more bytes than fields");
  }

  /** An owned copy of what is left. */
  rest(): Buffer {
    return Buffer.from(this.fixed(this.#bytes.length - this.#cursor.at));
  }

  many<T>(read: (part: PartReader) => T): T[] {
    const all: T[] = [];
    while (!this.isAtEnd) all.push(read(this));
    return all;
  }
}

export function varint(value: number): Buffer {
  const bytes = Buffer.alloc(varintLength(value));
  writeVarint(bytes, 0, value);
  return bytes;
}

export function sized(bytes: Buffer): Buffer {
  return Buffer.concat([varint(bytes.length), bytes]);
}

export function text(value: string): Buffer {
  return sized(Buffer.from(value));
}

function corrupt(reason: string): OperatingError {
  return new OperatingError("CORRUPT", reason);
}
