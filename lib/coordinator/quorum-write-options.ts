/** What a write on its way to the replicas of its key is told at its start. */
import type { MemberId } from "../cluster/member.js";
import type { EncodedRecord, MintedDot } from "../replica/replica.js";
import type { BeginLimit } from "./begin-limit.js";
import type { Quorum } from "./consistency.js";
import type { Sink } from "./keyspace.js";
import type { UncoveredSeen } from "./write-calls.js";

export interface QuorumWriteOptions {
  readonly dataKey: string;
  readonly quorum: Quorum;
  readonly standIns: "strict" | "sloppy";
  /** Monotonic. */
  readonly deadlineMs: number;
  /**
   * A plain SET or DEL: what its version is. Should a replica hold something newer that this node has not seen, it is minted
   * once more, above that. Null for all other writes.
   */
  readonly plain: MintedDot | null;
  /** Of a write that was passed on: minted later than this says it would be an old one over a newer. */
  readonly begin?: BeginLimit | undefined;
  /**
   * How this node holds the record: as a replica's copy (the default), or, where it is none, as a hint for each owner; it then
   * stands in for the first of them.
   */
  readonly held?: "as a copy" | "as a hint";
  /**
   * The record as this write has left it, which is what the owners are sent: what was stored behind it by the end of its turn is
   * not to be seen by a read that came between. Default: the record as it is then.
   */
  readonly record?: EncodedRecord | null;
  /** It was under way already; default: it begins. */
  readonly resume?: WriteSoFar;
  readonly sink: Sink<void>;
}

/** What became of a write before it goes on by itself. */
export interface WriteSoFar {
  /** Owners that have it. */
  readonly storedBy: ReadonlySet<MemberId>;
  /** Owners that are late to answer: somebody stands in for them at once. */
  readonly late: ReadonlySet<MemberId>;
  /** What one of them holds that it does not cover; null where none does. */
  readonly uncovered: UncoveredSeen | null;
}
