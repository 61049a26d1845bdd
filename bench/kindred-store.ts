/**
 * Kindred's engine as the engine bench drives it, which is how the server does: what is in flight together is one turn of
 * the loop, its writes one commit, and reads that memory can answer are answered in the call.
 */
import { setImmediate as nextTurn, setTimeout as pauseMs } from "node:timers/promises";
import type { EngineSettings, EngineStore } from "./engine-store.js";
import { pairKey, pairValue } from "./workload.js";

/** The part of lib/lsm's `Lsm` that is used here. */
interface Engine {
  readonly found: { readonly buffer: Buffer; readonly start: number; readonly end: number };
  peek(key: string): number;
  read(key: string): Promise<Buffer | null>;
  put(key: string, bytes: Uint8Array, start: number, end: number): void;
  commit(): void;
  readonly isAcknowledged: boolean;
  acknowledged(): Promise<void>;
  backlog(): "open" | "slow" | "stopped";
  room(): Promise<void>;
  scan(range: { from: string; to: null; limit: number; values: "with" }): Promise<{ readonly entries: readonly unknown[] }>;
  close(): Promise<void>;
}

const FOUND = 1;
const UNREAD = 2;

export class KindredStore implements EngineStore {
  readonly #engine: Engine;
  readonly #closeWorkers: () => Promise<void>;

  private constructor(engine: Engine, closeWorkers: () => Promise<void>) {
    this.#engine = engine;
    this.#closeWorkers = closeWorkers;
  }

  static async open({ directory, memoryTableBytes, blockCacheBytes }: EngineSettings): Promise<KindredStore> {
    const { Lsm, defaultLsmSettings, NodeClock, NodeDisk, NodeWorkers, silentLog } = await engineModules();
    const clock = new NodeClock();
    const workers = new NodeWorkers({ clock, heapBytesMax: 128 * 1024 * 1024, rateBytes: 0 });
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
        if (answer === FOUND) {
          copied += Buffer.from(engine.found.buffer.subarray(engine.found.start, engine.found.end)).length;
          found++;
        } else if (answer === UNREAD) waiting.push(engine.read(key));
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

interface EngineModules {
  readonly Lsm: { open(options: object): Promise<Engine> };
  readonly defaultLsmSettings: object;
  readonly NodeClock: new () => object;
  readonly NodeDisk: new () => object;
  readonly NodeWorkers: new (options: object) => { close(): Promise<void> };
  readonly silentLog: object;
}

/** Loaded by name, so that the bench compiles and runs its other rows in a tree without the engine. */
async function engineModules(): Promise<EngineModules> {
  const names = ["lsm/lsm", "lsm/lsm-settings", "host/node-clock", "host/node-disk", "host/node-workers", "log"];
  const loaded: object[] = [];
  for (const name of names) loaded.push((await import(new URL(`../lib/${name}.js`, import.meta.url).href)) as object);
  return Object.assign({}, ...loaded) as EngineModules;
}
