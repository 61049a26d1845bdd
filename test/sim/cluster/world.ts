/**
 * A world of machines in virtual time, a function of its seed: the same seed gives the same trace, whatever the machine it
 * runs on. It runs, watches the stores (`ledger`), and ends with what a node's code threw, wherever that was thrown.
 */
import { pause } from "../../../lib/host/clock.js";
import { SimClock, settle } from "../sim-clock.js";
import type { SimDisk } from "../sim-disk.js";
import { SimRandom } from "../sim-random.js";
import { Trace } from "../trace.js";
import { CausalLedger } from "./causal-ledger.js";
import { Centres } from "./centres.js";
import { type Disturbance, Disturbances } from "./disturbances.js";
import { FailureTrap } from "./failure-trap.js";
import { History, isAnswered, type NodeView, type Operation } from "./history.js";
import { keyOf, Violation } from "./key-history.js";
import { Machine, type MachineEvents, type StartOutcome } from "./machine.js";
import { clientPort, nodeName, peerPort, ringOfKey, type Topology } from "./node-flags.js";
import { requireQuiet } from "./quiet-checks.js";
import { RingSight } from "./ring-sight.js";
import { SimClient } from "./sim-client.js";
import { changesTold, decodeAppend, readStore } from "./store-watch.js";
import { WorldClient } from "./world-client.js";
import { WorldNetwork } from "./world-network.js";

export interface WorldOptions {
  readonly seed?: number;
  readonly nodes?: number;
  readonly topology?: Topology;
  /** Settings of every node, by name. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly delayMsMax?: number;
  /** Data centres dc1, dc2, ... that nodes are in, in turn. Default: one. */
  readonly centres?: number;
  /** One way between two of those, in milliseconds. */
  readonly linkMs?: number;
  readonly isCutting?: boolean;
  /** What is on the nodes' disks: see `intoDisks`. Empty ones by default. */
  readonly disks?: readonly SimDisk[];
  /** How many of the nodes, the last ones, are not started: a scenario brings them up. */
  readonly latecomers?: number;
  /** How far wall clocks are apart at the start; drawn for each. */
  readonly wallOffsetMsMax?: number;
}

/** Twice the default `request-timeout` and more: whoever waits longer was not answered. */
export const REQUEST_TIMEOUT_MS = 2_000;
export const ANSWER_MS_MAX = REQUEST_TIMEOUT_MS + 500;

/** The default of the setting `replicas`. */
const REPLICAS_DEFAULT = 3;
const DRIFT_MAX = 0.0005;
const JOIN_MS_MAX = 60_000;
const RING_POLL_MS = 100;
const LOG_LINES_MAX = 200;
const START_AGAIN_MS = 200;
/** What a request may take to its node, and what a node may be wrong about the clock of another. */
const LATE_MS_MAX = 250;
const RUN_MS_MAX = 600_000;
const READ_AGAIN_MS = 200;

/** What makes copies equal once all is healed. */
export type RepairWay = "by itself" | "by reads" | "by hints";

export class World {
  readonly seed: number;
  readonly topology: Topology;
  readonly clock = new SimClock();
  readonly random: SimRandom;
  readonly trace = new Trace();
  readonly network: WorldNetwork;
  readonly machines: readonly Machine[];
  readonly history: History;
  readonly ledger: CausalLedger;
  readonly disturbances: Disturbances;
  /** True where acknowledged writes may be lost with what was not synced. */
  readonly mayLose: boolean;
  /** Tombstones leave as soon as they may, and long contexts are pruned: one owner after the other. */
  readonly reaps: boolean;
  readonly #trap = new FailureTrap();
  readonly #silences = new Map<number, Disturbance>();
  readonly #clients = new Map<string, WorldClient>();
  readonly #log: string[] = [];
  readonly centres: Centres;
  #onStored: ((machine: Machine, key: string) => void) | null = null;
  /** What the nodes say of their ring. */
  readonly sight: RingSight;
  readonly #owners = new Map<string, readonly number[]>();
  #barrier: Promise<void> | null = null;

  private constructor(options: WorldOptions) {
    this.seed = options.seed ?? 1;
    this.topology = options.topology ?? "alone";
    this.random = new SimRandom(this.seed);
    const names = Array.from({ length: options.nodes ?? 1 }, (_, index) => nodeName(index));
    const { clock, trace } = this;
    const settings = options.settings ?? {};
    this.centres = new Centres({
      count: options.centres ?? 1,
      nodes: names.length,
      replicas: this.topology === "alone" ? 1 : Number(settings.replicas ?? REPLICAS_DEFAULT),
    });
    this.network = new WorldNetwork({
      clock,
      trace,
      names,
      random: this.random.fork(),
      delayMsMax: options.delayMsMax ?? 1,
      delayMsOf: (from, to) => (this.centres.of(from) === this.centres.of(to) ? 0 : (options.linkMs ?? 25)),
      isCutting: options.isCutting ?? true,
      onFault: () => {
        this.disturbances.isCalm = false;
      },
    });
    this.sight = new RingSight({ clock, network: this.network.sim, nodes: names.length });
    const now = (): number => clock.monotonicMs();
    const wallOf = (node: number): number => this.machines[node]!.clock.wallMs();
    const view = (node: number): NodeView => ({
      wallMs: wallOf(node),
      wallLatestMs: Math.max(...this.#ringOf(node).map(({ clock }) => clock.latestMs)),
      hasFailedLog: this.#ringOf(node).some(({ hasFailedSync }) => hasFailedSync),
    });
    this.history = new History({ now, view });
    this.ledger = new CausalLedger({
      nodes: names.length,
      history: this.history,
      wallOf,
      isCluster: this.topology === "cluster" && names.length > 1,
      copies: this.copies,
      mustBeMadeBy: (operation) => this.#mustBeMadeBy(operation),
    });
    this.ledger.mayMove = (options.latecomers ?? 0) > 0;
    this.disturbances = new Disturbances(now);
    this.mayLose = settings.appendfsync !== "always";
    this.reaps = (settings["reap-interval"] ?? "0") !== "0";
    this.machines = names.map((name, index) => {
      const random = this.random.fork();
      return new Machine({
        place: { index, name, topology: this.topology, settings: { dc: this.centres.nameOf(index), ...settings } },
        clock,
        network: this.network.sim,
        trace,
        events: this.#events(),
        wallOffsetMs: Math.floor((random.fraction() - 0.5) * 2 * (options.wallOffsetMsMax ?? 0)),
        drift: (random.fraction() - 0.5) * 2 * DRIFT_MAX,
        random,
      });
    });
  }

  /** A world whose nodes are all up. It must be closed: it watches the whole process for failures. */
  static async start(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    world.#trap.set();
    try {
      const machines = world.machines.slice(0, world.machines.length - (options.latecomers ?? 0));
      if (options.disks === undefined) for (const machine of machines) await world.bringUp(machine);
      else await world.#restart(machines, options.disks);
      if (world.topology === "cluster") await world.allJoined({ withinMs: JOIN_MS_MAX });
      world.disturbances.isCalm = true;
    } catch (error) {
      world.close();
      throw error;
    }
    return world;
  }

  /** Ends the world in good order, and gives the disks of its nodes. */
  async intoDisks(): Promise<readonly SimDisk[]> {
    for (const machine of this.machines) await this.run(machine.stop());
    this.close();
    return this.machines.map((machine) => machine.backup());
  }

  /** All at once, as after a failure of the power of a whole site. */
  async #restart(machines: readonly Machine[], disks: readonly SimDisk[]): Promise<void> {
    for (const machine of machines) machine.restore(disks[machine.index]!);
    await this.run(Promise.all(machines.map((machine) => this.revive(machine))));
  }

  close(): void {
    this.#trap.release();
  }

  /** Members that have left, were taken out, or died for good: as these members they do not come back. */
  readonly gone = new Set<Machine>();
  /** When all faults were last ended; null before. */
  #healedMs: number | null = null;

  noteGone(machine: Machine): void {
    this.ledger.mayMove = true;
    this.gone.add(machine);
    this.ledger.gone.add(machine.index);
  }

  /** The machine never serves as this member again, whatever is on its disk. */
  lose(machine: Machine, how: "kill" | "power loss"): void {
    if (how === "kill") machine.kill();
    else machine.powerOff();
    this.ledger.mayMove = true;
    this.gone.add(machine);
    this.ledger.died(machine.index);
  }

  /**
   * The machine has an empty disk from now on, or what was restored from a backup, and is to be another member: it finds the ring
   * through any of these.
   */
  renew(machine: Machine, seeds: readonly Machine[], from?: { readonly backup: SimDisk; readonly takenMs: number }): void {
    if (machine.state === "off") machine.powerOn();
    if (from === undefined) machine.wipe();
    else machine.restoreAsAnother(from.backup, from.takenMs);
    delete machine.extraSettings.replace;
    machine.extraSettings.seeds = seeds.map(({ index, name }) => `${name}:${peerPort(index)}`).join(",");
    this.ledger.reborn(machine.index);
    if (from !== undefined) this.ledger.restored.add(machine.index);
    this.gone.delete(machine);
  }

  /** Virtual time since all was healed, or since then, whichever is less; 0 before. */
  calmMsSince(sinceMs: number): number {
    return this.#healedMs === null ? 0 : this.nowMs - Math.max(sinceMs, this.#healedMs);
  }

  get nowMs(): number {
    return this.clock.monotonicMs();
  }

  node(name: string): Machine {
    const found = this.machines.find((machine) => machine.name === name);
    if (found === undefined) throw new Error(`there is no ${name}`);
    return found;
  }

  /** The nodes that should hold a key; in a cluster as of the last `quiesce`. */
  readonly ownersOf = (key: string): readonly number[] =>
    this.topology === "alone" ? [ringOfKey(key)] : (this.#owners.get(key) ?? []);

  /** The nodes that keep a key now, as they say. */
  owners(key: string): Promise<readonly number[]> {
    return this.run(this.sight.ownersOf(key));
  }

  /** A client of a node, by the name of the node, from the machine of this name. Kept: asked twice it is the same. */
  client(node: string, from = "client"): WorldClient {
    const place = `${from}>${node}`;
    let client = this.#clients.get(place);
    if (client === undefined) {
      const { index } = this.node(node);
      const connection = new SimClient({
        clock: this.clock,
        network: this.network.sim.endpoint(from),
        port: clientPort(index),
        answerMsMax: ANSWER_MS_MAX,
      });
      const { history, ledger, centres } = this;
      // Where all nodes keep all keys nobody is left to stand in.
      const hasStandIns = this.topology === "cluster" && this.machines.length > this.copies;
      client = new WorldClient({ connection, history, ledger, centres, hasStandIns, node: index, name: from });
      this.#clients.set(place, client);
    }
    return client;
  }

  get copies(): number {
    return this.centres.copies;
  }

  /** Lets time pass. Throws what broke. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    await this.#settle();
    while (this.clock.nextAtMs !== null && this.clock.nextAtMs <= untilMs) await this.#step();
    await this.clock.advance(untilMs - this.nowMs);
  }

  /** Lets time pass until `work` is settled, and returns its outcome. */
  async run<Result>(work: Promise<Result>, limitMs = RUN_MS_MAX): Promise<Result> {
    let isSettled = false;
    const note = (): void => {
      isSettled = true;
    };
    work.then(note, note);
    const untilMs = this.nowMs + limitMs;
    await this.#settle();
    while (!isSettled) {
      if (this.clock.nextAtMs === null || this.nowMs > untilMs)
        throw new Violation(null, `something that was waited for did not happen within ${limitMs} ms`);
      await this.#step();
    }
    return work;
  }

  /** Lets time pass until it is so; false when it is not after `withinMs`. */
  async until(isSo: () => boolean, withinMs: number): Promise<boolean> {
    const untilMs = this.nowMs + withinMs;
    await this.#settle();
    while (!isSo()) {
      if (this.clock.nextAtMs === null || this.clock.nextAtMs > untilMs) return false;
      await this.#step();
    }
    return true;
  }

  /**
   * Starts a process, again and again while its disk refuses, unless somebody else does something with the machine. Lets no
   * time pass itself, so that it may be used from within a timer: a scenario runs it (`bringUp`).
   */
  async revive(machine: Machine): Promise<void> {
    if (this.gone.has(machine)) return;
    for (;;) {
      if (machine.state === "off") machine.powerOn();
      if (machine.state !== "down") return;
      const outcome: StartOutcome = await machine.start();
      if (outcome === "up" || outcome === "died") return;
      if (isRemoval(outcome)) {
        this.noteGone(machine);
        return;
      }
      // One that has left learns of it: the next start is refused.
      if (outcome.failure.code !== "IO" && outcome.failure.code !== "CLOSED")
        throw new Violation(null, `${machine.name} does not start: ${outcome.failure.message}`);
      await pause(this.clock, START_AGAIN_MS);
    }
  }

  bringUp(machine: Machine): Promise<void> {
    return this.run(this.revive(machine));
  }

  /** Lets work go on by itself; what it fails with is a failure of the run. */
  background(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#trap.note(error));
  }

  /** Lets time pass until all nodes that were ever started are members of one ring, know it, and hold each other for up. */
  async allJoined({ withinMs }: { withinMs: number }): Promise<void> {
    const untilMs = this.nowMs + withinMs;
    const nodes = this.staying().map(({ index }) => index);
    while ((await this.run(this.sight.common(nodes))) === null) {
      if (this.nowMs > untilMs) throw new Violation(null, `the nodes do not see one ring of them all after ${withinMs} ms`);
      await this.pass(RING_POLL_MS);
    }
    for (const [member, node] of await this.run(this.sight.members())) this.ledger.nodeOfMember.set(member, node);
  }

  /** Those that were ever started, and are not gone. */
  staying(): Machine[] {
    return this.machines.filter((machine) => machine.wasStarted && !this.gone.has(machine));
  }

  /** Ends every fault of network and disks, and brings every machine up that was ever started. */
  async heal(): Promise<void> {
    this.network.heal();
    for (const machine of this.machines) {
      machine.healDisk();
      machine.thaw();
      if (this.gone.has(machine) || !machine.wasStarted) continue;
      await this.until(() => machine.state !== "starting" && machine.state !== "stopping", RUN_MS_MAX);
      if (machine.hasFailedSync) machine.kill();
      await this.bringUp(machine);
    }
    this.#healedMs = this.nowMs;
  }

  /**
   * Heals, and lets time pass until nothing is left to hand over, all owners of each key hold the same, and no records are on
   * their way any more. Throws a Violation when that is not so in time. `repair`: what makes copies equal (default: nodes compare
   * them); `by reads`: reads at ALL do, where nodes do not compare; `by hints`: all that members missed was kept for them.
   */
  async quiesce({ withinMs, repair }: { withinMs: number; repair?: RepairWay }): Promise<void> {
    await this.heal();
    // What is on its way arrives, and what expires at once has done so.
    await this.pass(ANSWER_MS_MAX);
    if (this.topology === "cluster") {
      await this.#handedOver(withinMs);
      for (const key of this.ledger.keys) this.#owners.set(key, await this.run(this.sight.ownersOf(key)));
    }
    if (this.topology === "cluster" && repair === "by reads") await this.#readAllKeys(withinMs);
    if (!(await this.until(() => this.ledger.differing(this.ownersOf) === null, withinMs))) {
      const key = this.ledger.differing(this.ownersOf);
      throw new Violation(key, `its owners still hold different records ${withinMs} ms after everything was healed`);
    }
    if (this.topology !== "cluster") return;
    await requireQuiet(this, withinMs);
  }

  /** What was kept for members that were away goes to them. */
  async #handedOver(withinMs: number): Promise<void> {
    if (await this.until(() => this.ledger.waitingHint === null, withinMs)) return;
    const { node, key } = this.ledger.waitingHint!;
    throw new Violation(key, `node ${node} still keeps what others lack, ${withinMs} ms after everything was healed`);
  }

  /** A read that is refused is made again: a node may be about to link itself with another still. */
  async #readAllKeys(withinMs: number): Promise<void> {
    const reader = this.client(this.staying()[0]!.name, "repairer").at("ALL");
    const untilMs = this.nowMs + withinMs;
    for (const key of this.ledger.keys) {
      while (!isAnswered(await this.run(reader.tryGet(key))) && this.nowMs < untilMs) await this.pass(READ_AGAIN_MS);
    }
  }

  /** Kills the machine at the very moment at which it has this key's record in its log, before it tells anybody. */
  killWhenStored(machine: Machine, key: string): void {
    this.#onStored = (stored, storedKey) => {
      if (stored !== machine || storedKey !== key) return;
      this.#onStored = null;
      machine.kill();
    };
  }

  /** The last lines that the nodes logged. */
  get logLines(): readonly string[] {
    return this.#log;
  }

  #ringOf(node: number): readonly Machine[] {
    return this.topology === "alone" ? [this.machines[node]!] : this.machines;
  }

  async #step(): Promise<void> {
    await this.#startsBegun();
    await this.clock.step();
    this.#trap.check();
  }

  /** What a start waits for has happened, and the process has gone as far as it can before time passes again. */
  async #startsBegun(): Promise<void> {
    while (this.#barrier !== null) {
      await this.#barrier;
      await settle();
    }
  }

  async #settle(): Promise<void> {
    await this.#startsBegun();
    await settle();
    this.#trap.check();
  }

  #events(): MachineEvents {
    return {
      onAppend: (machine, path, bytes, offset, length) => {
        const { index } = machine;
        try {
          const onStored = (dataKey: string): void => this.#onStored?.(machine, keyOf(dataKey));
          decodeAppend(path, bytes, offset, length, changesTold(this.ledger, index, onStored));
        } catch (error) {
          // The node's code must not see it: it would take it for an error of its disk.
          this.#trap.note(error);
        }
      },
      beforeStart: (machine) => {
        const work = readStore(machine.disk, machine.place).then((contents) => this.ledger.restarted(machine.index, contents));
        const barrier = work.finally(() => {
          if (this.#barrier === barrier) this.#barrier = null;
        });
        this.#barrier = barrier;
        return work;
      },
      onState: (machine) => this.#noteState(machine),
      onLog: (machine, level, fields, message) => {
        const fieldText = Object.keys(fields).length === 0 ? "" : ` ${describeFields(fields)}`;
        this.#log.push(`${this.nowMs.toFixed(1)} ${machine.name} ${level}: ${message}${fieldText}`);
        if (this.#log.length > LOG_LINES_MAX) this.#log.shift();
      },
      onFailure: (error) => this.#trap.note(error),
    };
  }

  /**
   * Until when a write that was passed on may be made, in virtual time: its deadline counts from when its client's node took it
   * in. Infinity where that may have been late.
   */
  #mustBeMadeBy({ node, invoked }: Operation): number {
    const byMs = invoked.ms + REQUEST_TIMEOUT_MS + LATE_MS_MAX;
    return this.disturbances.excuse(node, invoked.ms, byMs) === null ? byMs : Number.POSITIVE_INFINITY;
  }

  #noteState(machine: Machine): void {
    const silence = this.#silences.get(machine.index);
    if (!machine.isServing && silence === undefined) {
      this.disturbances.isCalm = false;
      const why = machine.isFrozen ? "frozen" : machine.state;
      this.#silences.set(machine.index, this.disturbances.begin(machine.index, why));
    } else if (machine.isServing && silence !== undefined) {
      this.disturbances.end(silence);
      this.#silences.delete(machine.index);
    }
  }
}

/** A start that was refused because the member was removed. */
export function isRemoval(outcome: StartOutcome): boolean {
  return typeof outcome === "object" && outcome.failure.message.includes("was removed from its cluster");
}

function describeFields(fields: object): string {
  return JSON.stringify(fields, (_, value: unknown) => (value instanceof Error ? value.message : value));
}
