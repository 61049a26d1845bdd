/**
 * One machine of a world: a disk, a clock, a place in the network, and at most one process, which runs a real `Node`. It can
 * be stopped, killed (the page cache survives), lose power (the disk keeps what `SimDisk` draws), be frozen, and be wiped.
 *
 * A machine tells the world what it must know (`MachineEvents`) and decides nothing: who does what to it is drawn elsewhere.
 */
import { assert } from "../../../lib/assert.js";
import { OperatingError } from "../../../lib/errors.js";
import type { Host } from "../../../lib/host/host.js";
import type { Log } from "../../../lib/log.js";
import { lsmJobs } from "../../../lib/lsm/jobs.js";
import { Node } from "../../../lib/node/node.js";
import { storePaths } from "../../../lib/node/settings.js";
import type { ProtocolVersions } from "../../../lib/peer/peer.js";
import { recordJobOptions } from "../../../lib/replica/record-jobs.js";
import type { SimClock } from "../sim-clock.js";
import { faultless, SimDisk, type SimDiskOptions } from "../sim-disk.js";
import type { SimNetwork } from "../sim-network.js";
import type { SimRandom } from "../sim-random.js";
import { SimWorkers } from "../sim-workers.js";
import type { Trace } from "../trace.js";
import { MachineClock } from "./machine-clock.js";
import { MachineNetwork } from "./machine-network.js";
import { DATA_DIRECTORY, type NodePlace, nodeConfig } from "./node-flags.js";
import { ProcessGate } from "./process-gate.js";

/** `off` is without power; `starting` and `up` have a process, which may be frozen. */
export type MachineState = "down" | "off" | "starting" | "up" | "stopping";

/** How a start ended: a process that dies while it starts is told of here too. */
export type StartOutcome = "up" | "died" | { readonly failure: OperatingError };

export interface MachineEvents {
  /** Bytes were appended to a file; borrowed. */
  onAppend(machine: Machine, path: string, bytes: Uint8Array, offset: number, length: number): void;
  /** A process is about to start on this disk. Nothing else happens in the world until the promise is settled. */
  beforeStart(machine: Machine): Promise<void>;
  onState(machine: Machine): void;
  onLog(machine: Machine, level: string, fields: object, message: string): void;
  /** A bug: the run is over. */
  onFailure(error: unknown): void;
}

export interface MachineOptions {
  readonly place: NodePlace;
  readonly clock: SimClock;
  readonly network: SimNetwork;
  readonly random: SimRandom;
  readonly trace: Trace;
  readonly events: MachineEvents;
  readonly wallOffsetMs: number;
  readonly drift: number;
}

const STEP_MS_MAX = 0.5;

export class Machine {
  readonly index: number;
  readonly name: string;
  /** Settings of its next starts, besides those of the place. */
  readonly extraSettings: Record<string, string> = {};
  /** Of the members' protocol that its next starts speak; null: all. An older build speaks fewer. */
  protocol: ProtocolVersions | null = null;
  readonly place: NodePlace;
  readonly clock: MachineClock;
  readonly #gate = new ProcessGate();
  readonly #options: MachineOptions;
  #disk: SimDisk;
  #state: MachineState = "down";
  #wasStarted = false;
  #node: Node | null = null;
  #onStarted: ((outcome: StartOutcome) => void) | null = null;
  #onStopped: (() => void) | null = null;
  /** A sync has failed since the process started: it acknowledges nothing any more. */
  hasFailedSync = false;
  /** Processes are started again on the page cache even after a failed sync. */
  isTrustingPageCache = false;
  /** The disk lies: to test the tests. */
  hasLyingSyncs = false;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.place = options.place;
    this.index = options.place.index;
    this.name = options.place.name;
    const { clock, wallOffsetMs, drift } = options;
    this.clock = new MachineClock({ clock, gate: this.#gate, offsetMs: wallOffsetMs, drift });
    this.#disk = new SimDisk(this.#diskOptions());
  }

  get state(): MachineState {
    return this.#state;
  }

  get disk(): SimDisk {
    return this.#disk;
  }

  get isFrozen(): boolean {
    return this.#gate.isStopped;
  }

  /** It answers as far as nothing else hinders it. */
  get isServing(): boolean {
    return this.#state === "up" && !this.isFrozen;
  }

  /** It has had a process. */
  get wasStarted(): boolean {
    return this.#wasStarted;
  }

  /** Starts a process. Resolves when it serves, has refused to start, or has died. REQUIRES that none is there. */
  start(): Promise<StartOutcome> {
    assert(this.#state === "down", "machine: a process is started where none is");
    this.hasFailedSync = false;
    this.#wasStarted = true;
    this.#disk.faults.hasLyingSyncs = this.hasLyingSyncs;
    this.#gate.begin();
    this.#become("starting");
    const outcome = new Promise<StartOutcome>((resolve) => {
      this.#onStarted = resolve;
    });
    const { process } = this.#gate;
    this.#options.events.beforeStart(this).then(
      () => {
        if (this.#gate.process === process) this.#launch(process);
      },
      (error: unknown) => this.#options.events.onFailure(error),
    );
    return outcome;
  }

  /** An orderly stop, as by SIGTERM. Resolves when the process has ended, in whatever way. */
  stop(): Promise<void> {
    assert(this.#state === "up" && this.#node !== null, "machine: what is up is stopped");
    this.#become("stopping");
    const { process } = this.#gate;
    const ended = new Promise<void>((resolve) => {
      this.#onStopped = resolve;
    });
    const exit = (): void => {
      if (this.#gate.process === process) this.#endProcess();
    };
    this.#node.stop().then(exit, (error: unknown) => {
      if (!(error instanceof OperatingError)) this.#options.events.onFailure(error);
      exit();
    });
    return ended;
  }

  /** kill -9: what was written stays in the page cache. */
  kill(): void {
    if (this.#gate.process !== 0) this.#endProcess();
  }

  /** The power fails: what was not synced is kept in part, or not. */
  powerOff(): void {
    if (this.#state === "off") return;
    // The disk calls back when it draws what it keeps.
    if (this.#disk.isCrashed) this.#losePower();
    else this.#disk.crash();
  }

  /** The power fails in the middle of the `changes`-th change of the disk from now. */
  powerOffAfter(changes: number): void {
    this.#disk.crashAfter(changes);
  }

  powerOn(): void {
    if (this.#state !== "off") return;
    this.#disk = this.#disk.restart(this.#diskOptions());
    this.#options.network.powerOn(this.name);
    this.#become("down");
  }

  /** SIGSTOP. */
  freeze(): void {
    if (this.#gate.process === 0 || this.isFrozen) return;
    this.#gate.stop();
    this.#options.network.freeze(this.name);
    this.#options.events.onState(this);
  }

  /** SIGCONT. */
  thaw(): void {
    if (!this.isFrozen) return;
    this.clock.goOn();
    this.#options.network.thaw(this.name);
    this.#options.events.onState(this);
  }

  /** The disk is replaced by an empty one. REQUIRES that no process is there. */
  wipe(): void {
    assert(this.#state === "down", "machine: a disk is wiped while nobody uses it");
    this.#disk = new SimDisk(this.#diskOptions());
  }

  /** What is on the disk now, for `restore`. */
  backup(): SimDisk {
    return this.#disk.copy(this.#diskOptions());
  }

  /** The disk is as it was at that backup: the operator restored it. REQUIRES that no process is there. */
  restore(backup: SimDisk): void {
    assert(this.#state === "down", "machine: a disk is restored while nobody uses it");
    this.#disk = backup.copy(this.#diskOptions());
  }

  /** The same, as `kindred restore` does it: the member is to be another one, in the place of the one that the backup is of. */
  restoreAsAnother(backup: SimDisk, takenMs: number): void {
    this.restore(backup);
    const mark = Buffer.from(JSON.stringify({ format: 1, as: "replacement", takenMs, without: [] }));
    const file = this.#disk.create(`${DATA_DIRECTORY}/restored.json`);
    file.append(mark, 0, mark.length);
    file.close();
  }

  /** The store is started as one that has lost data, as after a salvage. REQUIRES that no process is there. */
  loseData(): void {
    assert(this.#state === "down", "machine: a mark is left while nobody uses the disk");
    const mark = this.#disk.create(storePaths(DATA_DIRECTORY).lossMark);
    mark.close();
  }

  /** The disk has room, is quick, and fails at nothing. */
  healDisk(): void {
    Object.assign(this.#disk.faults, faultless, { hasLyingSyncs: this.hasLyingSyncs });
    this.#disk.crashAfter(Number.POSITIVE_INFINITY);
  }

  #launch(process: number): void {
    const { place, random, events } = this.#options;
    const disk = this.#disk;
    const clock = this.clock;
    const jobs = lsmJobs(recordJobOptions());
    const network = new MachineNetwork(this.#options.network.endpoint(this.name), this.#gate);
    const host: Host = {
      clock,
      disk,
      network,
      peerNetwork: network,
      random: random.fork(),
      workers: new SimWorkers({ clock, disk, random: random.fork(), jobs, stepMsMax: STEP_MS_MAX }),
    };
    const identity = { pid: 1, boot: this.name, started: String(process) };
    const stopping = new AbortController();
    const requestStop = (): void => {
      if (this.#gate.process !== process) return;
      if (this.#state === "up") this.stop().catch((error: unknown) => events.onFailure(error));
      else if (this.#state === "starting") stopping.abort();
    };
    const starting = Node.start({
      host,
      processes: { self: () => identity, isRunning: () => false },
      config: nodeConfig({ ...place, settings: { ...place.settings, ...this.extraSettings } }),
      log: this.#log(),
      machine: FACTS,
      ...(this.protocol !== null && { protocol: this.protocol }),
      requestStop,
      stopping: stopping.signal,
    });
    starting.then(
      (node) => {
        if (this.#gate.process !== process) return;
        this.#node = node;
        this.#become("up");
        this.#started("up");
        if (stopping.signal.aborted) requestStop();
      },
      (error: unknown) => {
        if (!(error instanceof OperatingError)) return events.onFailure(error);
        if (this.#gate.process !== process) return;
        const started = this.#onStarted;
        this.#onStarted = null;
        this.#endProcess();
        started?.({ failure: error });
      },
    );
  }

  #started(outcome: StartOutcome): void {
    const started = this.#onStarted;
    this.#onStarted = null;
    started?.(outcome);
  }

  #endProcess(): void {
    // The page cache shows what a failed sync has lost as if it were on the disk; whoever restarts after one starts the
    // machine anew, so that the next process sees what is there.
    if (this.hasFailedSync && !this.isTrustingPageCache) return this.powerOff();
    this.#gate.end();
    this.#options.network.endProcess(this.name);
    this.#options.network.thaw(this.name);
    this.#leave("down");
  }

  #losePower(): void {
    this.#gate.end();
    this.#options.network.powerOff(this.name);
    this.#options.network.thaw(this.name);
    this.#leave("off");
  }

  #leave(state: "down" | "off"): void {
    this.#node = null;
    this.#become(state);
    this.#started("died");
    this.#onStopped?.();
    this.#onStopped = null;
  }

  #become(state: MachineState): void {
    this.#state = state;
    this.#options.trace.note(`${this.name} ${state}`);
    this.#options.events.onState(this);
  }

  #diskOptions(): SimDiskOptions {
    const { random, trace, events } = this.#options;
    return {
      clock: this.clock,
      random: random.fork(),
      trace,
      onCrash: () => this.#losePower(),
      onAppend: (path, bytes, offset, length) => events.onAppend(this, path, bytes, offset, length),
      onSyncFailure: () => {
        this.hasFailedSync = true;
      },
    };
  }

  #log(): Log {
    const note =
      (level: string) =>
      (fields: object, message: string): void =>
        this.#options.events.onLog(this, level, fields, message);
    return { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
  }
}

/** Of no type of its own: it may tell more than a node asks for. */
const FACTS = {
  version: "0.0.0",
  operatingSystem: "simulated",
  runtimeVersion: "simulated",
  processId: 1,
  currentDirectory: "/",
  executable: "kindred",
  hostName: "simulated",
  address: "",
  configFile: "",
  memory: () => ({ used: 1, usedPeak: 1, resident: 1, total: 1 }),
  processor: () => ({ userSeconds: 0, systemSeconds: 0 }),
  busyMs: () => 0,
};
