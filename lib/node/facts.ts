/** What INFO tells of the node: facts of the machine, handed in by main, and figures of the layers. */
import type { ClusterMember } from "../commands/cluster-view.js";
import type { InfoField } from "../commands/info.js";
import type { DurabilityFacts, KeyspaceFacts, MemoryFacts, NodeFacts, TrafficFacts } from "../commands/info-sections.js";
import type { LocalKeyspace } from "../coordinator/local-keyspace.js";
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Lsm } from "../lsm/lsm.js";
import type { Reaper } from "../replica/reaper.js";
import type { RespCounters } from "../resp/connection-owner.js";

/** What only the process itself can tell. */
export interface Machine {
  /** Kindred's version. */
  readonly version: string;
  readonly operatingSystem: string;
  readonly runtimeVersion: string;
  readonly processId: number;
  readonly executable: string;
  /** "" when there is none. */
  readonly configFile: string;
  memory(): MemoryFacts;
  processor(): { readonly userSeconds: number; readonly systemSeconds: number };
}

export interface FactsOptions {
  readonly machine: Machine;
  readonly clock: Clock;
  readonly random: Random;
  readonly lsm: Lsm;
  readonly coordinator: LocalKeyspace;
  readonly reaper: Reaper;
}

const RUN_ID_BYTES = 20;
const MEMBER_ID_DIGITS = 40;
const PEER_PORT_OFFSET = 10_000;
const ANY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::", "localhost"]);

export class Facts implements NodeFacts {
  readonly version: string;
  readonly operatingSystem: string;
  readonly runtimeVersion: string;
  readonly processId: number;
  readonly executable: string;
  readonly configFile: string;
  readonly runId: string;
  readonly startedMs: number;
  readonly mode = "standalone";
  port = 0;
  #counters: RespCounters | null = null;
  readonly #options: FactsOptions;

  constructor(options: FactsOptions) {
    const { machine } = options;
    this.#options = options;
    this.version = machine.version;
    this.operatingSystem = machine.operatingSystem;
    this.runtimeVersion = machine.runtimeVersion;
    this.processId = machine.processId;
    this.executable = machine.executable;
    this.configFile = machine.configFile;
    this.runId = options.random.bytes(RUN_ID_BYTES).toString("hex");
    this.startedMs = options.clock.wallMs();
  }

  /** The server listens: from now on its port and traffic are known. */
  listening(port: number, counters: RespCounters): void {
    this.port = port;
    this.#counters = counters;
  }

  /** This node as cluster clients see it. An address that stands for all of them is shown as one that they can reach. */
  member(storeId: string, bind: string): ClusterMember {
    return {
      id: Buffer.from(storeId, "latin1").toString("hex").padEnd(MEMBER_ID_DIGITS, "0"),
      ip: ANY_ADDRESS.has(bind) ? "127.0.0.1" : bind,
      port: this.port,
      peerPort: this.port + PEER_PORT_OFFSET,
      health: "online",
    };
  }

  memory(): MemoryFacts {
    return this.#options.machine.memory();
  }

  processor(): { readonly userSeconds: number; readonly systemSeconds: number } {
    return this.#options.machine.processor();
  }

  traffic(): TrafficFacts {
    const counters = this.#counters;
    return {
      inputBytes: counters?.inputBytes ?? 0,
      outputBytes: counters?.outputBytes ?? 0,
      rejectedConnections: counters?.connectionsRejected ?? 0,
    };
  }

  keyspace(): KeyspaceFacts {
    const { coordinator, reaper } = this.#options;
    return { hits: coordinator.hits, misses: coordinator.misses, expired: reaper.expiredKeys };
  }

  durability(): DurabilityFacts {
    const stats = this.#options.lsm.stats();
    return {
      isLoading: false,
      isLastWriteOk: stats.isWritable,
      unsyncedChanges: stats.unsyncedBatches,
      lastDurableSeconds: Math.floor(this.#options.clock.wallMs() / 1_000),
    };
  }

  *storage(): Iterable<InfoField> {
    for (const [name, value] of Object.entries(this.#options.lsm.stats())) {
      yield [
        name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        typeof value === "object" ? JSON.stringify(value) : typeof value === "boolean" ? Number(value) : value,
      ];
    }
  }

  resetCounters(): void {
    const { coordinator, reaper } = this.#options;
    coordinator.hits = 0;
    coordinator.misses = 0;
    reaper.expiredKeys = 0;
    const counters = this.#counters;
    if (counters !== null) Object.assign(counters, { connectionsRejected: 0, inputBytes: 0, outputBytes: 0 });
  }
}
