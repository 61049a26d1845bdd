/** The commands of a node, complete as in lib/node, over a fake clock, a keyspace in Maps and settings that tests change. */
import type {
  BackupReply,
  ClusterOperations,
  LeaveRequest,
  OperationOutcome,
  RemoveRequest,
  RepairReply,
  RepairRequest,
} from "../../lib/commands/cluster-operations.js";
import { type ClusterMember, type ClusterView, ringOfOne } from "../../lib/commands/cluster-view.js";
import type { Command } from "../../lib/commands/command.js";
import type { CommandSettings } from "../../lib/commands/command-settings.js";
import type { Glob } from "../../lib/commands/glob.js";
import type { NodeFacts } from "../../lib/commands/info-sections.js";
import { buildCommands, type NodeCommands } from "../../lib/commands/node-commands.js";
import { memoryUsage } from "../../lib/commands/object.js";
import type { RuntimeSettings, SettingRefusal, SettingValue } from "../../lib/commands/runtime-settings.js";
import type { Consistency, Copies } from "../../lib/coordinator/consistency.js";
import type { Clock } from "../../lib/host/clock.js";
import { silentLog } from "../../lib/log.js";
import { FakeClient, FakeControl } from "./fake-client.js";
import { FakeClock } from "./fake-clock.js";
import { FakeKeyspace, type Mode } from "./fake-keyspace.js";
import { keyedCommands } from "./keyed-commands.js";

export const DEFAULTS: Consistency = {
  quorum: { kind: "level", level: "QUORUM" },
  standIns: "sloppy",
  conflicts: "newest",
};

/** What the configuration would hold. */
export class FakeSettings implements CommandSettings, RuntimeSettings {
  requirePassword = "";
  slowlogSlowerThanMicros = 10_000;
  slowlogLengthMax = 128;
  latencyThresholdMs = 0;
  debugCommand: "no" | "local" | "yes" = "local";
  clientsMax = 10_000;
  rewriteOutcome: "written" | "no file" = "no file";
  readonly consistencyByDatabase = new Map<number, Consistency>();
  readonly values = new Map([
    ["timeout", "0"],
    ["max-pair-bytes", "10240"],
    ["port", "6379"],
  ]);

  consistencyOf(database: number): Consistency {
    return this.consistencyByDatabase.get(database) ?? DEFAULTS;
  }

  list(glob: Glob): readonly SettingValue[] {
    return [...this.values].map(([name, value]) => ({ name, value })).filter(({ name }) => glob.matches(name));
  }

  get(name: string): string | null {
    return this.values.get(name) ?? null;
  }

  set(changes: readonly SettingValue[]): SettingRefusal | null {
    for (const { name, value } of changes) {
      if (!/^\d+$/.test(value)) return { kind: "refused", name, reason: "argument couldn't be parsed into an integer" };
    }
    for (const { name, value } of changes) this.values.set(name, value);
    return null;
  }

  rewrite(): "written" | "no file" {
    return this.rewriteOutcome;
  }
}

const MEMBER: ClusterMember = { id: "ab".repeat(20), ip: "127.0.0.1", port: 6379, peerPort: 16379, health: "online" };

/** Keeps what it is asked for. */
export class FakeOperations implements ClusterOperations {
  readonly removals: RemoveRequest[] = [];
  readonly leaves: LeaveRequest[] = [];
  note = "";
  readonly repairs: RepairRequest[] = [];
  objection: string | null = null;

  repair(request: RepairRequest): string | null {
    this.repairs.push(request);
    return this.objection;
  }

  readonly backups: string[] = [];

  backup(path: string): string | null {
    this.backups.push(path);
    return this.objection;
  }

  backupStatus(): BackupReply {
    const progress = { files: 4, filesDone: 2, linkedBytes: 100, copiedBytes: 0, tookMs: 1, complaint: "" };
    return { state: "running", path: "/backups/one", ...progress };
  }

  async leave(request: LeaveRequest): Promise<OperationOutcome> {
    if (request.ifVersion !== null && request.ifVersion !== 12)
      return { kind: "refused", reason: "the ring has version 12 by now" };
    this.leaves.push(request);
    return this.#outcome();
  }

  async remove(request: RemoveRequest): Promise<OperationOutcome> {
    this.removals.push(request);
    return this.#outcome();
  }

  #outcome(): OperationOutcome {
    if (this.objection !== null) return { kind: "refused", reason: this.objection };
    return { kind: "agreed", note: this.note };
  }

  repairStatus(): RepairReply {
    const progress = { membersDone: 1, members: 2, slotsDiffering: 3, taken: 4, given: 5, bytes: 6, failed: 0, complaint: "" };
    return { state: "comparing", slotsUnknown: 0, ...progress };
  }
}

/** The commands of a node over fakes. */
export class FakeNode {
  readonly clock = new FakeClock();
  readonly keyspace: FakeKeyspace;
  readonly settings = new FakeSettings();
  readonly built: NodeCommands;
  copies: Copies = { local: 1, elsewhere: [] };
  replicasMax = 3;
  shutdowns = 0;
  durable: () => Promise<void> = async () => {};
  activeExpiry: "on" | "off" = "on";
  readonly operations = new FakeOperations();
  #port = 50_000;

  /** By default every key is in memory. */
  constructor(options: { mode?: Mode; cluster?: ClusterView } = {}) {
    this.keyspace = new FakeKeyspace({ mode: options.mode ?? "memory", clock: this.clock });
    this.built = buildCommands({
      routing: null,
      keyspace: this.keyspace,
      clock: this.clock,
      keyed: [...keyedCommands, slowGet],
      memoryUsage,
      settings: this.settings,
      runtimeSettings: this.settings,
      facts: factsOf(this.clock),
      cluster: options.cluster ?? ringOfOne(() => MEMBER),
      operations: this.operations,
      copies: () => this.copies,
      replicasMax: () => this.replicasMax,
      makeDurable: () => this.durable(),
      shutdown: () => void this.shutdowns++,
      setActiveExpiry: (mode) => void (this.activeExpiry = mode),
      log: silentLog,
    });
  }

  connect(remoteAddress = "127.0.0.1"): FakeClient {
    return new FakeClient(this.built, new FakeControl(remoteAddress, this.#port++));
  }
}

function factsOf(clock: Clock): NodeFacts {
  return {
    version: "0.1.0",
    operatingSystem: "Linux test x64",
    runtimeVersion: "v20",
    processId: 1,
    runId: "cd".repeat(20),
    port: 6379,
    executable: "node",
    configFile: "",
    mode: "standalone",
    startedMs: clock.wallMs(),
    memory: () => ({ used: 1_048_576, usedPeak: 1_048_576, resident: 2_097_152, total: 8_388_608 }),
    processor: () => ({ userSeconds: 1, systemSeconds: 0.5 }),
    traffic: () => ({ inputBytes: 0, outputBytes: 0, rejectedConnections: 0 }),
    keyspace: () => ({ hits: 0, misses: 0, expired: 0 }),
    durability: () => ({ isLoading: false, isLastWriteOk: true, unsyncedChanges: 0, lastDurableSeconds: 1_700_000_000 }),
    storage: () => [["storage_tables", 0]],
    isInCompany: () => false,
    hints: () => [["hints_waiting", 0]],
    antiEntropy: () => [["anti_entropy_partners", 0]],
    peers: () => [],
    resetCounters: () => undefined,
  };
}

/** Reads its key as if it were never in memory. */
const slowGet: Command = {
  name: "slowget",
  arity: 2,
  flags: ["readonly"],
  keys: { first: 1, last: 1, step: 1 },
  since: "1.0.0",
  group: "string",
  summary: "For tests.",
  arguments: [],
  run: ({ keyspace }, call) => {
    const { scope } = call.session;
    call.later(async (reply, [, name]) => {
      const entry = await keyspace.read(scope, name!);
      if (entry === null) reply.null();
      else reply.bulk(entry.value);
    });
  },
};
