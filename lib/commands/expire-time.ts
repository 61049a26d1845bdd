/**
 * Times of expiry as clients give them (seconds or milliseconds, from now or since the epoch) turned into the absolute
 * milliseconds that are stored. Pure: the caller says what time it is.
 */
import { INT64_MAX, INT64_MIN, type Int64 } from "./integer.js";

/** Named like the options of SET. */
export type ExpiryUnit = "EX" | "PX" | "EXAT" | "PXAT";

/** Expiry of a value that never expires. */
export const NEVER = 0;

/**
 * Unix time in milliseconds, or null when 64 bits do not hold it. May be zero or negative. Times beyond the year 287,000
 * become the last safe integer, in both directions: nobody can tell the difference by waiting.
 */
export function expiryMsOf(amount: Int64, unit: ExpiryUnit, nowMs: number): number | null {
  const scale = unit === "EX" || unit === "EXAT" ? 1_000 : 1;
  const base = unit === "EX" || unit === "PX" ? nowMs : 0;
  if (typeof amount === "number") {
    const at = amount * scale + base;
    if (Number.isSafeInteger(amount * scale) && Number.isSafeInteger(at)) return at;
  }
  const fromBase = BigInt(amount) * BigInt(scale);
  if (fromBase > INT64_MAX || fromBase < INT64_MIN) return null;
  const at = fromBase + BigInt(base);
  if (at > INT64_MAX) return null;
  return at > 0n ? Number.MAX_SAFE_INTEGER : -Number.MAX_SAFE_INTEGER;
}

/** The same for options that allow positive times only: null for zero and below. */
export function futureExpiryMsOf(amount: Int64, unit: ExpiryUnit, nowMs: number): number | null {
  return amount > 0 ? expiryMsOf(amount, unit, nowMs) : null;
}

/** Whether a value with this (already given, non-zero) expiry is gone at `nowMs`. */
export function isPast(expiryMs: number, nowMs: number): boolean {
  return expiryMs <= nowMs;
}
