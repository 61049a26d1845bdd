/** The ring document of a version that was always alone, or of a store that is restored alone. */
import { RecordName, type Records } from "./records.js";
import { decodeRingDocument, type RingDocument } from "./ring-document.js";

/** Null where there is none. Throws CORRUPT. */
export function readLoneRing(records: Pick<Records, "get">): RingDocument | null {
  const stored = records.get(RecordName.loneRing);
  return stored === null ? null : decodeRingDocument(stored);
}
