/** What the engine bench asks of a storage engine. Each engine does it the way a server would that was built on it. */

export interface EngineStore {
  /** Stores the pairs of the indexes `from` up to (without) `to`, `inFlight` at a time; resolves when all are acknowledged. */
  put(range: { readonly from: number; readonly to: number; readonly inFlight: number }): Promise<void>;
  /** Reads the pairs of these indexes, copying each value; resolves with how many there were. */
  get(indexes: Uint32Array, inFlight: number): Promise<number>;
  /** Reads `limit` pairs in key order from a key on; resolves with how many there were. */
  scan(fromKey: string, limit: number): Promise<number>;
  close(): Promise<void>;
}

/** The same memory for both: what a server would give an engine. */
export interface EngineSettings {
  readonly directory: string;
  readonly memoryTableBytes: number;
  readonly blockCacheBytes: number;
}

export type EngineName = "kindred" | "classic-level";
