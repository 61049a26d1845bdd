/**
 * The newest run of each other member that this one has heard of, kept on the disk: whoever goes back to a time before it is told
 * (own-runs.ts), also where all who knew of it were restarted meanwhile.
 */
import { PartReader, varint } from "./field-encoding.js";
import { MEMBER_ID_BYTES, type MemberId } from "./member.js";
import type { RunsTold } from "./own-runs.js";
import { RecordName, type Records } from "./records.js";

const FORMAT = 1;

export class KnownRuns {
  readonly #records: Records;
  readonly #generations: Map<MemberId, number>;
  #isSaved = true;

  /** Throws CORRUPT. */
  constructor(records: Records) {
    this.#records = records;
    const stored = records.get(RecordName.knownRuns);
    this.#generations = stored === null ? new Map() : decode(stored);
  }

  /** 0 for a member of which none is known. */
  of(id: MemberId): number {
    return this.#generations.get(id) ?? 0;
  }

  note(id: MemberId, generation: number): void {
    if (this.of(id) >= generation) return;
    this.#generations.set(id, generation);
    this.#isSaved = false;
  }

  /** Puts on the disk what is not there yet, of members that are kept. Throws IO. */
  save(isKept: (id: MemberId) => boolean): void {
    if (this.#isSaved) return;
    for (const id of this.#generations.keys()) if (!isKept(id)) this.#generations.delete(id);
    const entries = [...this.#generations].sort(([a], [b]) => (a < b ? -1 : 1));
    const parts = entries.flatMap(([id, generation]) => [Buffer.from(id, "hex"), varint(generation)]);
    this.#records.putNow(RecordName.knownRuns, Buffer.concat([varint(FORMAT), ...parts]));
    this.#isSaved = true;
  }
}

/** True where one of these generations, 0 for none, is a run of a member that its store does not know of any more. */
export function isRunLost({ settled, generations }: RunsTold, known: readonly number[]): boolean {
  return known.some((generation) => generation > settled && !generations.includes(generation));
}

function decode(bytes: Buffer): Map<MemberId, number> {
  const part = new PartReader(bytes);
  part.format("the record of other members' runs", FORMAT);
  return new Map(part.many((each) => [each.fixed(MEMBER_ID_BYTES).toString("hex"), each.varint()]));
}
