/** What INFO tells of the node: facts of the machine, handed in by main, and figures of the layers. */
import type { MemberLoad } from "../cluster/cluster.js";
import type { InfoField } from "../commands/info.js";
import type { DurabilityFacts, KeyspaceFacts, MemoryFacts, NodeFacts, TrafficFacts } from "../commands/info-sections.js";
import { RateMeter } from "../commands/rate-meter.js";
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Lsm } from "../lsm/lsm.js";
import type { Reaper } from "../replica/reaper.js";
import type { RespCounters } from "../resp/connection-owner.js";
import type { RingParts } from "./ring-stack.js";

/** What only the process itself can tell. */
export interface Machine {
  /** The name of the physical server. */
  readonly hostName: string;
  /** An address at which other machines may reach this one; "" when it has none. */
  readonly address: string;
  /** Kindred's version. */
  readonly version: string;
  readonly operatingSystem: string;
  readonly runtimeVersion: string;
  readonly processId: number;
  /** Absolute: what relative paths begin at. */
  readonly currentDirectory: string;
  readonly executable: string;
  /** "" when there is none. */
  readonly configFile: string;
  memory(): MemoryFacts;
  processor(): { readonly userSeconds: number; readonly systemSeconds: number };
  /** For how long the thread of requests has been busy since it began: waiting for its processor counts. Fractional. */
  busyMs(): number;
}

export interface FactsOptions {
  readonly machine: Machine;
  readonly clock: Clock;
  readonly random: Random;
  readonly lsm: Lsm;
  readonly reaper: Reaper;
  /** Bytes free where the data is, null where that is not known. */
  readonly freeBytes: () => number | null;
}

const RUN_ID_BYTES = 20;

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
  #ring: RingParts | null = null;
  #rate: RateMeter | null = null;
  /** Busy milliseconds a second, which are thousandths. */
  readonly busy: RateMeter;
  readonly #options: FactsOptions;

  constructor(options: FactsOptions) {
    const { machine } = options;
    this.#options = options;
    this.busy = new RateMeter({ clock: options.clock, count: () => machine.busyMs() });
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

  /** The rest of the node is built. */
  ringIsKnown(ring: RingParts, rate: RateMeter): void {
    this.#ring = ring;
    this.#rate = rate;
  }

  /** How much this member has to do, as the others are told. */
  load(): MemberLoad {
    const stats = this.#options.lsm.stats();
    return {
      requestsPerSecond: this.#rate?.perSecond() ?? 0,
      storedBytes: stats.tableBytes + stats.memoryTableBytes,
      waitingHints: this.#ring?.context.hints.count ?? 0,
      busyPermille: Math.min(1_000, this.busy.perSecond()),
      diskFreeBytes: this.#options.freeBytes(),
    };
  }

  isInCompany(): boolean {
    return (this.#ring?.plans.ring.document.members.length ?? 0) > 1;
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
    const local = this.#ring?.local;
    return { hits: local?.hits ?? 0, misses: local?.misses ?? 0, expired: this.#options.reaper.expiredKeys };
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

  hints(): Iterable<InfoField> {
    return this.#ring?.handoff.fields() ?? [];
  }

  antiEntropy(): Iterable<InfoField> {
    return this.#ring?.repair.fields() ?? [];
  }

  *peers(): Iterable<InfoField> {
    if (this.#ring === null) return;
    const { service, context } = this.#ring;
    const { inFlight, remote } = context;
    yield ["requests_in_flight", inFlight.count];
    yield ["requests_hedged", inFlight.hedged];
    yield ["hedges_spared", inFlight.spared];
    yield ["requests_expired", inFlight.expired];
    yield ["records_stored_for_others", service.stored];
    yield ["records_read_for_others", service.given];
    for (const id of remote.memberIds()) {
      const state = remote.stateOf(id);
      if (state === null) continue;
      const { status, latencyMs, callsInFlight, queuedBytes } = state;
      const latency = `latency_ms=${Math.max(0, latencyMs).toFixed(2)}`;
      yield [`peer_${id}`, `status=${status},${latency},in_flight=${callsInFlight},queued_bytes=${queuedBytes}`];
    }
  }

  resetCounters(): void {
    const local = this.#ring?.local;
    if (local !== undefined) Object.assign(local, { hits: 0, misses: 0 });
    this.#options.reaper.expiredKeys = 0;
    const counters = this.#counters;
    if (counters !== null) Object.assign(counters, { connectionsRejected: 0, inputBytes: 0, outputBytes: 0 });
  }
}
