/** Commands on several keys of which each is read and written by itself, with its own quorum. */
import { OperatingError } from "../errors.js";

/**
 * Waits for what is done to each key. Where some of it fails the command fails, once all is done, with the first failure; of
 * several keys it says so, because what a failure tells (`nothing was changed`) is true of its own key only.
 * `keys`: how many the command names, those done already included.
 */
export async function keyByKey<Result>(keys: number, works: readonly Promise<Result>[]): Promise<readonly Result[]> {
  const outcomes = await Promise.allSettled(works);
  const failures = outcomes.filter((outcome) => outcome.status === "rejected").map(({ reason }): unknown => reason);
  const [first] = failures;
  if (failures.length === 0) return outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  if (keys === 1 || !(first instanceof OperatingError)) throw first;
  throw new OperatingError(first.code, `${failures.length} of ${keys} keys failed: ${first.message}`, { cause: first });
}
