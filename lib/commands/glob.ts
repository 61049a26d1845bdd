/**
 * Redis's glob patterns over bytes: `*` any run, `?` any byte, `[abc]` `[a-c]` `[^a]` one byte of a set, `\x` the byte x.
 * A set that is not closed ends with the pattern; a backslash that ends the pattern stands for itself. A pattern is
 * compiled once and matched in at most pattern times text steps, whatever its stars: only the last star passed is ever
 * tried again, because an earlier one could not do better. As in Redis, a pattern of more than 1,000 runs is taken for an
 * abuse and fits nothing. Pure.
 */

const STAR = 0x2a;
const QUESTION = 0x3f;
const OPEN = 0x5b;
const CLOSE = 0x5d;
const CARET = 0x5e;
const DASH = 0x2d;
const BACKSLASH = 0x5c;

/** Steps of a compiled pattern: a byte, or one of these, or below them the set at index `FIRST_SET - step`. */
const ANY_BYTE = -1;
const ANY_RUN = -2;
const FIRST_SET = -3;

const RUNS_MAX = 1_000;

export class Glob {
  readonly #steps: readonly number[];
  readonly #isAbusive: boolean;
  /** Membership by byte, 1 or 0. */
  readonly #sets: readonly Uint8Array[];

  /** Any bytes are a pattern. */
  constructor(pattern: Uint8Array) {
    const { steps, sets } = compile(pattern);
    this.#isAbusive = steps.filter((step) => step === ANY_RUN).length > RUNS_MAX;
    this.#steps = steps;
    this.#sets = sets;
  }

  /** True for the pattern `*`, which spares callers the matching. */
  get matchesAll(): boolean {
    return this.#steps.length === 1 && this.#steps[0] === ANY_RUN;
  }

  /** Whether the whole latin1 text fits. */
  matches(text: string): boolean {
    if (this.#isAbusive) return false;
    const steps = this.#steps;
    let step = 0;
    let at = 0;
    let stepAfterRun = -1;
    let runEnd = 0;
    while (at < text.length) {
      if (steps[step] === ANY_RUN) {
        stepAfterRun = ++step;
        runEnd = at;
      } else if (step < steps.length && this.#fits(steps[step]!, text.charCodeAt(at))) {
        step++;
        at++;
      } else if (stepAfterRun >= 0) {
        // The last run takes one byte more, and what follows it starts over behind that byte.
        step = stepAfterRun;
        at = ++runEnd;
      } else {
        return false;
      }
    }
    while (steps[step] === ANY_RUN) step++;
    return step === steps.length;
  }

  #fits(step: number, code: number): boolean {
    if (step >= 0) return step === code;
    return step === ANY_BYTE || this.#sets[FIRST_SET - step]![code] === 1;
  }
}

function compile(pattern: Uint8Array): { steps: readonly number[]; sets: readonly Uint8Array[] } {
  const steps: number[] = [];
  const sets: Uint8Array[] = [];
  let at = 0;
  while (at < pattern.length) {
    const byte = pattern[at++]!;
    if (byte === STAR) {
      if (steps.at(-1) !== ANY_RUN) steps.push(ANY_RUN);
    } else if (byte === QUESTION) {
      steps.push(ANY_BYTE);
    } else if (byte === OPEN) {
      const { members, end } = compileSet(pattern, at);
      steps.push(FIRST_SET - sets.length);
      sets.push(members);
      at = end;
    } else {
      steps.push(byte === BACKSLASH && at < pattern.length ? pattern[at++]! : byte);
    }
  }
  return { steps, sets };
}

/** Reads a set from behind its bracket; `end` is behind the closing one. */
function compileSet(pattern: Uint8Array, start: number): { members: Uint8Array; end: number } {
  const isNegated = pattern[start] === CARET;
  const members = new Uint8Array(256);
  let at = isNegated ? start + 1 : start;
  while (at < pattern.length && pattern[at] !== CLOSE) {
    const left = pattern.length - at;
    if (pattern[at] === BACKSLASH && left >= 2) {
      members[pattern[at + 1]!] = 1;
      at += 2;
    } else if (left >= 3 && pattern[at + 1] === DASH) {
      const low = Math.min(pattern[at]!, pattern[at + 2]!);
      const high = Math.max(pattern[at]!, pattern[at + 2]!);
      members.fill(1, low, high + 1);
      at += 3;
    } else {
      members[pattern[at]!] = 1;
      at++;
    }
  }
  if (isNegated) for (let byte = 0; byte < members.length; byte++) members[byte] = 1 - members[byte]!;
  return { members, end: at + 1 };
}
