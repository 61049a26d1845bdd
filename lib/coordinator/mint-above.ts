/** Makes a plain write of this node once more, above what others hold that it had not seen when it minted. */
import { OperatingError } from "../errors.js";
import type { MintedDot, Records, Replica } from "../replica/replica.js";
import type { BeginLimit } from "./begin-limit.js";
import type { UncoveredSeen } from "./write-calls.js";

const TOO_LATE = "others hold something newer, and it was passed on too late to be made above that; it may still take effect";

export interface WriteToMakeAgain {
  readonly dataKey: string;
  readonly minted: MintedDot;
  readonly uncovered: UncoveredSeen;
  readonly begin: BeginLimit | undefined;
  /** Its client was told meanwhile: it is not made again. */
  readonly isTold: () => boolean;
  /** In the step that stored it anew. */
  readonly onMinted: () => void;
  /** It is not made again. Null: a later write of this node superseded it, and sees to the rest. */
  readonly onOver: (error: OperatingError | null) => void;
}

/** Reads the record first where it has left memory. */
export async function mintAbove(replica: Replica, write: WriteToMakeAgain): Promise<void> {
  const { dataKey, minted, uncovered } = write;
  const keys = [dataKey];
  const fetched: Records = new Map();
  try {
    let records: Records | null;
    while ((records = replica.gather(keys, fetched)) === null) await replica.fetch(keys, fetched);
    if (write.isTold()) return;
    if (write.begin?.isPast) throw new OperatingError("UNAVAILABLE", TOO_LATE);
    replica.observe(uncovered.stamp);
    if (!replica.mintAgain(dataKey, records, minted.sequence, uncovered.context)) return write.onOver(null);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return write.onOver(error);
  }
  write.onMinted();
}
