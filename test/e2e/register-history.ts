/**
 * What clients were told of keys that are only SET and read, and whether what a later read gives agrees with it. Pure: times
 * are handed in, in milliseconds on one clock.
 *
 * A value is lost, or a read stale, where another write began after the value's own was acknowledged, and was itself
 * acknowledged before the read began. Writes that overlap may take effect in either order. A write without an answer may take
 * effect at any later time, or never.
 */

export interface Attempt {
  readonly key: string;
  readonly value: string;
  readonly beganMs: number;
  /** When it was acknowledged; infinity while it was not. */
  endedMs: number;
}

/** What a read may be told. */
export type Judgement = "right" | "stale" | "never written";

/** Values are about as large as those of redis-benchmark's runs. */
const VALUE_CHARACTERS = 100;

export class RegisterHistory {
  readonly #attempts = new Map<string, Attempt[]>();
  readonly #writer: string;
  #next = 0;
  #acknowledged = 0;

  /** `writer` tells the values of several histories apart. */
  constructor(writer = "") {
    this.#writer = writer;
  }

  /** Acknowledged writes. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Keys of which a write was begun. */
  get keys(): readonly string[] {
    return [...this.#attempts.keys()];
  }

  /** A write of a value that no other write has. */
  begin(key: string, nowMs: number): Attempt {
    const value = `${key}=${this.#writer}${this.#next++};`.padEnd(VALUE_CHARACTERS, "v");
    const attempt = { key, value, beganMs: nowMs, endedMs: Number.POSITIVE_INFINITY };
    const known = this.#attempts.get(key);
    if (known === undefined) this.#attempts.set(key, [attempt]);
    else known.push(attempt);
    return attempt;
  }

  acknowledge(attempt: Attempt, nowMs: number): void {
    attempt.endedMs = nowMs;
    this.#acknowledged++;
  }

  /** Whether a read of the key that began at `beganMs` may give `value`. */
  judge(key: string, value: string | null, beganMs = Number.POSITIVE_INFINITY): Judgement {
    const attempts = this.#attempts.get(key) ?? [];
    const found = attempts.find((attempt) => attempt.value === value);
    if (value !== null && found === undefined) return "never written";
    const endedMs = found === undefined ? Number.NEGATIVE_INFINITY : found.endedMs;
    return attempts.some((later) => later.endedMs < beganMs && later.beganMs > endedMs) ? "stale" : "right";
  }

  /** Keys of which a write was acknowledged within this time. */
  keysAcknowledged(fromMs: number, toMs: number): readonly string[] {
    const isWithin = ({ endedMs }: Attempt): boolean => endedMs >= fromMs && endedMs <= toMs;
    return [...this.#attempts].flatMap(([key, attempts]) => (attempts.some(isWithin) ? [key] : []));
  }

  /** The last value that was acknowledged, for messages. */
  lastAcknowledged(key: string): string | null {
    const ended = (this.#attempts.get(key) ?? []).filter(({ endedMs }) => endedMs < Number.POSITIVE_INFINITY);
    return ended.sort((a, b) => a.endedMs - b.endedMs).at(-1)?.value ?? null;
  }
}
