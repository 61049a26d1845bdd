/** Of a request that was given to one node and then to another: what the first one made of it, and what the second may answer. */
import type { Covered, Version } from "../causality/record.js";
import { OperatingError } from "../errors.js";

/** What the first one answered is known to nobody. */
export function alreadyApplied(): OperatingError {
  return new OperatingError(
    "QUORUM",
    "the request took effect when it was given to another node first, whose answer did not arrive: read the key to see it",
  );
}

/**
 * Whether the version that a store knows to be of this request was computed by another run of it than the one that has this written:
 * it is there with another value, or it is not there any more while that which this run was computed from still is. Then
 * what this run would answer is not what was done.
 */
export function isOfAnotherRun(
  versions: readonly Pick<Version, "dot" | "value" | "writeId">[],
  { writeId, covered, value }: { readonly writeId: string; readonly covered: Covered; readonly value: Uint8Array | null },
): boolean {
  if (covered.kind !== "version") return false;
  const held = versions.find((version) => version.writeId === writeId);
  if (held !== undefined) return !isSameValue(held.value, value);
  return versions.some(({ dot }) => dot.actor === covered.dot.actor && dot.sequence === covered.dot.sequence);
}

function isSameValue(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === null || b === null ? a === b : Buffer.compare(a, b) === 0;
}
