/** classic-level (LevelDB) as the engine bench drives it: Snappy, ten filter bits a key and 4 KB blocks are its defaults. */
import { ClassicLevel } from "classic-level";
import type { EngineSettings, EngineStore } from "./engine-store.js";
import { pairKey, pairValue } from "./workload.js";

export class LevelStore implements EngineStore {
  readonly #db: ClassicLevel<string, Buffer>;

  private constructor(db: ClassicLevel<string, Buffer>) {
    this.#db = db;
  }

  static async open({ directory, memoryTableBytes, blockCacheBytes }: EngineSettings): Promise<LevelStore> {
    const db = new ClassicLevel<string, Buffer>(directory, {
      keyEncoding: "utf8",
      valueEncoding: "buffer",
      compression: true,
      writeBufferSize: memoryTableBytes,
      cacheSize: blockCacheBytes,
    });
    await db.open();
    return new LevelStore(db);
  }

  async put({ from, to, inFlight }: { from: number; to: number; inFlight: number }): Promise<void> {
    let next = from;
    const writer = async () => {
      while (next < to) {
        const index = next++;
        await this.#db.put(pairKey(index), pairValue(index));
      }
    };
    await Promise.all(Array.from({ length: inFlight }, writer));
  }

  async get(indexes: Uint32Array, inFlight: number): Promise<number> {
    let next = 0;
    let found = 0;
    const reader = async () => {
      while (next < indexes.length) {
        const value = await this.#db.get(pairKey(indexes[next++] as number));
        if (value !== undefined) found++;
      }
    };
    await Promise.all(Array.from({ length: inFlight }, reader));
    return found;
  }

  async scan(fromKey: string, limit: number): Promise<number> {
    return (await this.#db.iterator({ gte: fromKey, limit }).all()).length;
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
