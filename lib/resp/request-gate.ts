/**
 * The gate in front of redis-parser, which parses replies and so knows neither limits nor inline commands: it reads only
 * the headers of requests, finds where each ends, and enforces Redis's limits with Redis's words. What it lets through
 * are complete, valid arrays of bulk strings.
 *
 * INVARIANT: bytes handed to `receive` are borrowed until `settle`; from then on the gate holds its own copy of what is
 * not yet consumed. It allocates in proportion to the bytes that arrived, never to a length that was announced.
 */
import { assert } from "../assert.js";
import { latin1Of } from "../bytes/latin1.js";
import { splitInline } from "./inline-request.js";

const CR = 0x0d;
const LF = 0x0a;
const STAR = 0x2a;
const DOLLAR = 0x24;
const MINUS = 0x2d;
const ZERO = 0x30;

/** Longest inline request and longest header line, in bytes, as long as their end has not arrived. */
const LINE_BYTES_MAX = 65_536;
const UNAUTHENTICATED_ARGUMENTS_MAX = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX = 16_384;
/** Requests handed to the parser at once; bounds what is parsed again when a run is interrupted. */
const RUN_REQUESTS_MAX = 64;
/** The gate's own buffer starts at this and is given up above `KEPT_BYTES_MAX` as soon as it is empty. */
const OWN_BYTES_MIN = 512;
const KEPT_BYTES_MAX = 16_384;
/** Longest decimal rendering of a length; anything longer is no valid one. */
const DIGITS_MAX = 16;

export interface GateLimits {
  readonly bulkBytesMax: number;
  readonly argumentsMax: number;
  readonly isAuthenticated: boolean;
}

/**
 * What stands at the front of the input. `run`: `runCount` complete requests, see `runBytes`. `inline`: the words are in
 * `inlineWords`. `invalid`: answer `-ERR Protocol error: <violation>` and close. `hostile`: a browser was tricked into
 * speaking to us; close without a word.
 */
export type GateVerdict = "more" | "run" | "inline" | "invalid" | "hostile";

const EMPTY = Buffer.alloc(0);

export class RequestGate {
  /** The input: borrowed or owned, live in `[#start, #end)`. */
  #bytes: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  #isOwned = true;
  /** The scan inside the request at `#start` after the run: next header, arguments left (0: at its first byte), end of a bulk. */
  #at = 0;
  #argumentsLeft = 0;
  /** Where the last incomplete argument whose header was read ends. */
  #wanted = 0;
  readonly #runEnds = new Int32Array(RUN_REQUESTS_MAX);
  #runCount = 0;
  #inlineWords: readonly Buffer[] = [];
  #violation = "";

  /** Bytes received and not consumed. */
  get bufferedBytes(): number {
    return this.#end - this.#start;
  }

  /** Bytes of the gate's own buffer, for CLIENT LIST and tests. */
  get capacityBytes(): number {
    return this.#isOwned ? this.#bytes.length : 0;
  }

  get runCount(): number {
    return this.#runCount;
  }

  get inlineWords(): readonly Buffer[] {
    return this.#inlineWords;
  }

  get violation(): string {
    return this.#violation;
  }

  /** Adds a borrowed chunk behind what is there. REQUIRES `settle` before the chunk is overwritten. */
  receive(chunk: Buffer): void {
    if (this.#start < this.#end) {
      this.#append(chunk);
      return;
    }
    assert(this.#argumentsLeft === 0, "a request is begun, but none of its bytes are kept");
    this.#bytes = chunk;
    this.#isOwned = false;
    this.#start = this.#at = 0;
    this.#end = chunk.length;
  }

  /** Copies what is left of a borrowed chunk. */
  settle(): void {
    if (this.#start === this.#end) {
      if (!this.#isOwned || this.#bytes.length > KEPT_BYTES_MAX) {
        this.#bytes = EMPTY;
        this.#isOwned = true;
      }
      this.#start = this.#end = this.#at = this.#wanted = 0;
    } else if (!this.#isOwned) {
      this.#move(Math.max(OWN_BYTES_MIN, this.#end - this.#start));
    }
  }

  /** Drops everything; for connections that are closing. */
  clear(): void {
    this.#bytes = EMPTY;
    this.#isOwned = true;
    this.#start = this.#end = this.#at = this.#wanted = 0;
    this.#argumentsLeft = this.#runCount = 0;
  }

  /** Looks for up to `requestsMax` requests at the front. What it finds stays until `consume`. */
  next(limits: GateLimits, requestsMax: number): GateVerdict {
    assert(this.#runCount === 0, "the last run was not consumed");
    const runMax = Math.min(requestsMax, RUN_REQUESTS_MAX);
    while (this.#runCount < runMax) {
      const verdict = this.#argumentsLeft > 0 ? this.#scanArguments(limits) : this.#scanHead(limits);
      if (verdict === "run") {
        this.#runEnds[this.#runCount++] = this.#at;
      } else if (verdict !== "skip") {
        if (this.#runCount === 0) return verdict;
        // What follows the run is looked at again when the run is consumed.
        if (verdict !== "more") this.#rewind();
        return "run";
      } else if (this.#runCount > 0) {
        // The parser must not see the empty request: the run ends before it.
        this.#rewind();
        return "run";
      } else {
        this.#start = this.#at;
      }
    }
    return "run";
  }

  /** The bytes of the run: borrowed, valid until the next `receive`. */
  runBytes(): Buffer {
    assert(this.#runCount > 0, "there is a run");
    return this.#bytes.subarray(this.#start, this.#runEnds[this.#runCount - 1]!);
  }

  /** Consumes the first `count` (at least one) requests of the run; the others are found again by `next`. */
  consumeRun(count: number): void {
    assert(count >= 1 && count <= this.#runCount, "at least one request is consumed, at most the run");
    this.#start = this.#runEnds[count - 1]!;
    if (count < this.#runCount) {
      this.#at = this.#start;
      this.#argumentsLeft = 0;
    }
    this.#runCount = 0;
  }

  /** Goes back to the end of the run, as if what follows had not been looked at. */
  #rewind(): void {
    this.#at = this.#runEnds[this.#runCount - 1]!;
    this.#argumentsLeft = 0;
  }

  /** The first line of a request. `skip`: `#at` is behind an empty one. */
  #scanHead(limits: GateLimits): GateVerdict | "skip" {
    if (this.#at >= this.#end) return "more";
    if (this.#bytes[this.#at] !== STAR) return this.#scanInline();
    const end = this.#findCr(this.#at + 1);
    if (end < 0) return this.#lineWaits("too big mbulk count string");
    const count = this.#decimal(this.#at + 1, end);
    // Beyond 2^31 - 1 Redis refuses, beyond our own bound we must.
    if (count === null || count > limits.argumentsMax) return this.#invalid("invalid multibulk length");
    if (count > UNAUTHENTICATED_ARGUMENTS_MAX && !limits.isAuthenticated) {
      return this.#invalid("unauthenticated multibulk length");
    }
    this.#at = end + 2;
    if (count <= 0) return "skip";
    this.#argumentsLeft = count;
    return this.#scanArguments(limits);
  }

  /** Steps from argument to argument as far as there are bytes. */
  #scanArguments(limits: GateLimits): GateVerdict {
    const bytes = this.#bytes;
    const end = this.#end;
    let at = this.#at;
    while (this.#argumentsLeft > 0) {
      this.#at = at;
      if (at >= end) return "more";
      const first = bytes[at]!;
      if (first !== DOLLAR) return this.#invalid(`expected '$', got '${String.fromCharCode(first)}'`);
      const lineEnd = this.#findCr(at + 1);
      if (lineEnd < 0) return this.#lineWaits("too big bulk count string");
      const length = this.#decimal(at + 1, lineEnd);
      if (length === null || length < 0 || length > limits.bulkBytesMax) return this.#invalid("invalid bulk length");
      if (length > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.isAuthenticated) {
        return this.#invalid("unauthenticated bulk length");
      }
      // The two bytes behind an argument are skipped whatever they are, as in Redis.
      const next = lineEnd + 2 + length + 2;
      if (next > end) {
        this.#wanted = next;
        return "more";
      }
      at = next;
      this.#argumentsLeft--;
    }
    this.#at = at;
    return "run";
  }

  #scanInline(): GateVerdict | "skip" {
    if (this.#runCount > 0) return "inline";
    const found = this.#bytes.indexOf(LF, this.#at);
    if (found < 0 || found >= this.#end) {
      return this.bufferedBytes > LINE_BYTES_MAX ? this.#invalid("too big inline request") : "more";
    }
    const end = found > this.#at && this.#bytes[found - 1] === CR ? found - 1 : found;
    const words = splitInline(this.#bytes.subarray(this.#at, end));
    if (words === null) return this.#invalid("unbalanced quotes in request");
    this.#at = found + 1;
    if (words.length === 0) return "skip";
    this.#start = this.#at;
    const name = latin1Of(words[0]!).toLowerCase();
    if (name === "post" || name === "host:") return "hostile";
    this.#inlineWords = words;
    return "inline";
  }

  /** The line at `#at` has no end yet. */
  #lineWaits(violation: string): GateVerdict {
    return this.#end - this.#at > LINE_BYTES_MAX ? this.#invalid(violation) : "more";
  }

  #invalid(violation: string): GateVerdict {
    this.#violation = violation;
    return "invalid";
  }

  /** The position of the first CR from `at` that has a byte behind it; -1 when there is none. */
  #findCr(at: number): number {
    const bytes = this.#bytes;
    const end = this.#end - 1;
    // Headers are short: a call into indexOf would cost more than these few steps.
    const near = Math.min(end, at + DIGITS_MAX);
    for (let i = at; i < near; i++) if (bytes[i] === CR) return i;
    if (near >= end) return -1;
    const found = bytes.indexOf(CR, near);
    return found < end ? found : -1;
  }

  /** The integer written in `[at, end)`: digits without leading zeros, with a minus or none. `null` for anything else. */
  #decimal(at: number, end: number): number | null {
    const bytes = this.#bytes;
    const isNegative = bytes[at] === MINUS;
    const from = isNegative ? at + 1 : at;
    const digits = end - from;
    if (digits < 1 || digits > DIGITS_MAX) return null;
    if (bytes[from] === ZERO) return digits === 1 && !isNegative ? 0 : null;
    let value = 0;
    for (let i = from; i < end; i++) {
      const digit = bytes[i]! - ZERO;
      if (digit < 0 || digit > 9) return null;
      value = value * 10 + digit;
    }
    return isNegative ? -value : value;
  }

  #append(chunk: Buffer): void {
    const live = this.#end - this.#start;
    const needed = live + chunk.length;
    if (!this.#isOwned || this.#end + chunk.length > this.#bytes.length) {
      if (this.#isOwned && needed <= this.#bytes.length && this.#start >= live) {
        this.#bytes.copyWithin(0, this.#start, this.#end);
        this.#shift();
      } else {
        // Doubling keeps copying linear. A request's last argument says where it ends: no more than that is wanted.
        const wanted = this.#wanted - this.#start;
        const capacity = this.#argumentsLeft === 1 && wanted > needed ? Math.min(2 * needed, wanted) : 2 * needed;
        this.#move(Math.max(OWN_BYTES_MIN, capacity));
      }
    }
    chunk.copy(this.#bytes, this.#end);
    this.#end += chunk.length;
  }

  /** Copies the live bytes to the start of an own buffer of `capacity`. */
  #move(capacity: number): void {
    const target = Buffer.allocUnsafeSlow(capacity);
    this.#bytes.copy(target, 0, this.#start, this.#end);
    this.#bytes = target;
    this.#isOwned = true;
    this.#shift();
  }

  /** Positions after the live bytes went to the start of the buffer. */
  #shift(): void {
    this.#at -= this.#start;
    this.#wanted = Math.max(0, this.#wanted - this.#start);
    this.#end -= this.#start;
    this.#start = 0;
  }
}
