/**
 * Kindred's engine as the engine bench drives it, which is how the server does: what is in flight together is one turn of
 * the loop, its writes one commit, and reads that memory can answer are answered in the call.
 */
import { setImmediate as nextTurn, setTimeout as pauseMs } from "node:timers/promises";
import { NodeClock } from "../lib/host/node-clock.js";
import { NodeDisk } from "../lib/host/node-disk.js";
import { NodeWorkers } from "../lib/host/node-workers.js";
import { silentLog } from "../lib/log.js";
import { Lsm } from "../lib/lsm/lsm.js";
import { defaultLsmSettings } from "../lib/lsm/lsm-settings.js";
import { Peek } from "../lib/lsm/peek.js";
import type { EngineSettings, EngineStore } from "./engine-store.js";
import { pairKey, pairValue } from "./workload.js";

export class KindredStore implements EngineStore {
  readonly #engine: Lsm;
  readonly #closeWorkers: () => Promise<void>;

  private constructor(engine: Lsm, closeWorkers: () => Promise<void>) {
    this.#engine = engine;
    this.#closeWorkers = closeWorkers;
  }

  static async open({ directory, memoryTableBytes, blockCacheBytes }: EngineSettings): Promise<KindredStore> {
    const clock = new NodeClock();
    const workers = new NodeWorkers({ heapBytesMax: 128 * 1024 * 1024, rateBytes: 0 });
    const engine = await Lsm.open({
      disk: new NodeDisk(),
      clock,
      workers,
      log: silentLog,
      directory,
      settings: { ...defaultLsmSettings, fsync: "no", memoryTableBytes, blockCacheBytes },
    });
    return new KindredStore(engine, () => workers.close());
  }

  async put({ from, to, inFlight }: { from: number; to: number; inFlight: number }): Promise<void> {
    const engine = this.#engine;
    for (let index = from; index < to; ) {
      const end = Math.min(index + inFlight, to);
      for (; index < end; index++) {
        const value = pairValue(index);
        engine.put(pairKey(index), value, 0, value.length);
      }
      engine.commit();
      if (!engine.isAcknowledged) await engine.acknowledged();
      await this.#makeRoom();
      await nextTurn();
    }
  }

  async get(indexes: Uint32Array, inFlight: number): Promise<number> {
    const engine = this.#engine;
    const waiting: Promise<Buffer | null>[] = [];
    let copied = 0;
    let found = 0;
    for (let at = 0; at < indexes.length; ) {
      for (const end = Math.min(at + inFlight, indexes.length); at < end; at++) {
        const key = pairKey(indexes[at] as number);
        const answer = engine.peek(key);
        if (answer === Peek.FOUND) {
          copied += Buffer.from(engine.found.buffer.subarray(engine.found.start, engine.found.end)).length;
          found++;
        } else if (answer === Peek.UNREAD) waiting.push(engine.read(key));
      }
      for (const value of await Promise.all(waiting)) if (value !== null) found++;
      waiting.length = 0;
      await nextTurn();
    }
    if (found > 0 && copied < 0) throw new Error("unreachable: keeps the copies from being optimized away");
    return found;
  }

  async scan(fromKey: string, limit: number): Promise<number> {
    return (await this.#engine.scan({ from: fromKey, to: null, limit, values: "with" })).entries.length;
  }

  async close(): Promise<void> {
    await this.#engine.close();
    await this.#closeWorkers();
  }

  /** What a server does with its writers when compaction falls behind. */
  async #makeRoom(): Promise<void> {
    const backlog = this.#engine.backlog();
    if (backlog === "slow") await pauseMs(1);
    else if (backlog === "stopped") await this.#engine.room();
  }
}
