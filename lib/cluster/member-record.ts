/**
 * Who this member is, across its runs: an id minted with the data directory, and the generation of each run.
 *
 * INVARIANT: a generation is on the disk before anybody hears of it, and none is used twice.
 */
import { OperatingError } from "../errors.js";
import type { Random } from "../host/random.js";
import { PartReader, varint } from "./field-encoding.js";
import { isMemberId, MEMBER_ID_BYTES, type MemberId, mintMemberId } from "./member.js";
import { GENERATION_MAX } from "./member-entry.js";
import { OwnRuns } from "./own-runs.js";
import { RecordName, type Records } from "./records.js";

const FORMAT = 1;

export class MemberRecord {
  readonly id: MemberId;
  readonly runs: OwnRuns;
  readonly #records: Records;
  #generation: number;

  private constructor(records: Records, id: MemberId, generation: number) {
    this.#records = records;
    this.id = id;
    this.runs = new OwnRuns(records, generation);
    this.#generation = generation;
  }

  /** Mints the id if there is none, and begins a generation. Throws IO, and CORRUPT for a record of a later version. */
  static open({ records, random, wallMs }: { records: Records; random: Random; wallMs: number }): MemberRecord {
    const stored = records.get(RecordName.member);
    const last = stored === null ? { id: mintMemberId((length) => random.bytes(length)), generation: 0 } : decode(stored);
    const record = new MemberRecord(records, last.id, last.generation);
    record.raise({ above: last.generation, wallMs });
    return record;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Begins a generation above this one, the wall clock's where that is higher. Throws IO, and changes nothing then. */
  raise({ above, wallMs }: { readonly above: number; readonly wallMs: number }): number {
    const generation = Math.max(above + 1, this.#generation + 1, Math.min(wallMs, GENERATION_MAX));
    if (generation > GENERATION_MAX) throw new OperatingError("CORRUPT", `there is no generation above ${above}`);
    const bytes = Buffer.concat([varint(FORMAT), Buffer.from(this.id, "hex"), varint(generation)]);
    this.runs.note(generation);
    this.#records.putNow(RecordName.member, bytes);
    this.#generation = generation;
    return generation;
  }
}

/** The id in a stored record. Throws CORRUPT. */
export function memberIdOf(bytes: Buffer): MemberId {
  return decode(bytes).id;
}

/** The generation in a stored record: of the last run, or of this one once it has begun. 0 where there is none. Throws CORRUPT. */
export function generationOf(records: Pick<Records, "get">): number {
  const stored = records.get(RecordName.member);
  return stored === null ? 0 : decode(stored).generation;
}

function decode(bytes: Buffer): { readonly id: MemberId; readonly generation: number } {
  const part = new PartReader(bytes);
  part.format("the member's record", FORMAT);
  const id = part.fixed(MEMBER_ID_BYTES).toString("hex");
  const generation = part.lastVarint();
  if (!isMemberId(id)) throw new OperatingError("CORRUPT", "the member's record names nobody");
  return { id, generation };
}
