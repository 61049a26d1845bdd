/**
 * Assertions that are always on. A failed one is a bug in Kindred: it is never caught and ends the process.
 */

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws when `condition` is false. `text` is static, so that a passing assertion costs nothing. */
export function assert(condition: boolean, text: string): asserts condition {
  if (!condition) throw new AssertionError(text);
}

/** Ends a `switch` over a union: compiling proves that every case is handled, running into it is a bug. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case: ${JSON.stringify(value)}`);
}
