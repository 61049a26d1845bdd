/** The consistency settings of a connection, a database or one command, and the quorum sizes they stand for. Pure. */

export type Level = "ONE" | "QUORUM" | "ALL" | "LOCAL_ONE" | "LOCAL_QUORUM" | "EACH_QUORUM";

/** How many replicas must answer: a named level, or numbers of 1..N. */
export type Quorum =
  | { readonly kind: "level"; readonly level: Level }
  | { readonly kind: "numbers"; readonly read: number; readonly write: number };

export interface Consistency {
  readonly quorum: Quorum;
  /** May stand-ins count towards the quorum? */
  readonly standIns: "strict" | "sloppy";
  /** What GET does where there are siblings. */
  readonly conflicts: "newest" | "error";
}
