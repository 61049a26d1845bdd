/** The node's own small records, as the cluster needs them: lib/replica's MetaStore, or a Map in tests. */

export interface Records {
  get(name: string): Buffer | null;
  /** It is on the disk when this returns; `bytes` must not change afterwards. Throws IO. */
  putNow(name: string, bytes: Buffer): void;
}

/** Names on the disk: docs/FORMATS.md, "Keys and small records in the engine". */
export const RecordName = {
  /** Who this member is: member-record.ts. */
  member: "member",
  /** What this member promised, voted for and knows of the ring: ring-messages.ts. */
  ringState: "ring-state",
  /** The ring document of a version that was always alone, or of a store that is restored alone; read, never written by a cluster. */
  loneRing: "ring",
  /** The member in whose place this one comes, with a store that was restored: its id. */
  takesPlaceOf: "takes-place-of",
  /** The whole cluster was restored: reunion.ts. */
  reunion: "reunion",
  /** Where other members were last: address-book.ts. */
  addresses: "addresses",
  /** The runs of this member: own-runs.ts. */
  runs: "runs",
  /** The last run of each other member: known-runs.ts. */
  knownRuns: "known-runs",
} as const;
