/**
 * Bytes as latin1 strings and back: one char code is one byte. Such strings are owned (they pin no buffer) and are the
 * fastest keys of a Map. The two methods of Buffer used here work on any Uint8Array; the type definitions leave them out.
 */

interface Latin1Methods {
  latin1Slice(this: Uint8Array, start: number, end: number): string;
  latin1Write(this: Uint8Array, text: string, offset: number, length: number): number;
}

const { latin1Slice, latin1Write } = Buffer.prototype as unknown as Latin1Methods;

/** The bytes of `[start, end)` as a string. */
export function latin1Of(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return latin1Slice.call(bytes, start, end);
}

/** Writes a latin1 string at `at`; returns the position after it. REQUIRES room for `text.length` bytes. */
export function writeLatin1(target: Uint8Array, at: number, text: string): number {
  latin1Write.call(target, text, at, text.length);
  return at + text.length;
}
