/**
 * Builds RESP2 and RESP3 replies as latin1 text. Bulk payloads are latin1 strings (one char code is one byte) or borrowed
 * bytes, which are copied. Aggregates announce their length; the caller then adds that many values.
 */

import { latin1Of } from "../bytes/latin1.js";
import { OperatingError } from "../errors.js";
import { errorReplyOf } from "./error-reply.js";

const CRLF = "\r\n";
/**
 * Longest text of one reply. Strings of this engine end at 512 MB, and growing past that would end the process, so a
 * request for more (a value asked for a million times in one MGET) is refused instead. As the default output limit.
 */
export const REPLY_BYTES_MAX = 268_435_456;
/** Integers and lengths that are answered most are rendered once. */
const HEADERS = 1_024;
const integers: readonly string[] = Array.from({ length: HEADERS }, (_, n) => `:${n}${CRLF}`);
const bulkHeaders: readonly string[] = Array.from({ length: HEADERS }, (_, n) => `$${n}${CRLF}`);

export class Reply {
  protocol: 2 | 3;
  /** Errors written so far, and the text of the last one: statistics compare the number before and after a command. */
  errors = 0;
  lastError = "";
  /** What a command failed with, where it is not an error that the command itself answered; the last one. */
  failure: OperatingError | null = null;
  #text = "";

  constructor(protocol: 2 | 3) {
    this.protocol = protocol;
  }

  /** Takes what was built so far, leaving nothing. */
  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }

  /** Latin1 bytes built so far. */
  get length(): number {
    return this.#text.length;
  }

  /** Drops everything after the first `length` bytes: a command that failed half way takes back what it began. */
  cutTo(length: number): void {
    this.#text = this.#text.slice(0, length);
  }

  /** A simple string; `text` has no CR or LF. */
  simple(text: string): void {
    this.#text += `+${text}${CRLF}`;
  }

  ok(): void {
    this.#text += "+OK\r\n";
  }

  /** An error: `text` starts with its code (`ERR syntax error`). Line breaks become spaces. */
  error(text: string): void {
    this.errors++;
    this.lastError = text;
    this.#text += `-${text.replace(/[\r\n]/g, " ")}${CRLF}`;
  }

  /** The error that a command failed with. Throws what is not an `OperatingError`. */
  fail(error: unknown): void {
    const text = errorReplyOf(error);
    this.failure = error as OperatingError;
    this.error(text);
  }

  /** A 64-bit signed integer. */
  integer(value: number | bigint): void {
    this.#text += typeof value === "number" && value >= 0 && value < HEADERS ? integers[value] : `:${value}${CRLF}`;
  }

  /** Throws an `OperatingError` of code `ARGUMENT` where the reply would exceed `REPLY_BYTES_MAX`. */
  bulk(latin1: string): void {
    const { length } = latin1;
    if (this.#text.length + length > REPLY_BYTES_MAX) refuseToGrow();
    this.#text += (length < HEADERS ? bulkHeaders[length] : `$${length}${CRLF}`) + latin1 + CRLF;
  }

  /** A bulk string of arbitrary (non-latin1) text, sent as UTF-8. */
  bulkText(text: string): void {
    this.bulk(latin1Of(Buffer.from(text, "utf8")));
  }

  bulkBytes(bytes: Uint8Array): void {
    this.bulk(latin1Of(bytes));
  }

  /** The absent bulk string: `$-1`, `_` in RESP3. */
  null(): void {
    this.#text += this.protocol === 3 ? "_\r\n" : "$-1\r\n";
  }

  /** The absent array: `*-1`, `_` in RESP3. */
  nullArray(): void {
    this.#text += this.protocol === 3 ? "_\r\n" : "*-1\r\n";
  }

  array(length: number): void {
    this.#text += `*${length}${CRLF}`;
  }

  /** `length` pairs follow; in RESP2 a flat array. */
  map(length: number): void {
    this.#text += this.protocol === 3 ? `%${length}${CRLF}` : `*${2 * length}${CRLF}`;
  }

  /** In RESP2 an array. */
  set(length: number): void {
    this.#text += this.protocol === 3 ? `~${length}${CRLF}` : `*${length}${CRLF}`;
  }

  /** An out-of-band message; in RESP2 an array. */
  push(length: number): void {
    this.#text += this.protocol === 3 ? `>${length}${CRLF}` : `*${length}${CRLF}`;
  }

  /** Multi-line text for people (latin1 or ASCII): verbatim in RESP3, bulk in RESP2. */
  verbatim(text: string): void {
    if (this.protocol === 3) this.#text += `=${text.length + 4}${CRLF}txt:${text}${CRLF}`;
    else this.bulk(text);
  }

  /** Already encoded values (a reply built elsewhere). Throws as `bulk` does. */
  raw(encoded: string): void {
    if (this.#text.length + encoded.length > REPLY_BYTES_MAX) refuseToGrow();
    this.#text += encoded;
  }

  /** Moves all of `other` behind what is here. REQUIRES that both together are shorter than 512 MB. */
  takeOver(other: Reply): void {
    this.#text += other.take();
  }
}

function refuseToGrow(): never {
  throw new OperatingError("ARGUMENT", `the reply would exceed ${REPLY_BYTES_MAX} bytes; ask for less in one request`);
}
