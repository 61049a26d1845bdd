/** Members with an engine each, links between them, and hints: what the tests of hints, handoff and transfers share. */
import { actorOf } from "../../lib/causality/actor.js";
import { merge, type Record, type Version } from "../../lib/causality/record.js";
import { decodeRecord, encodeRecord } from "../../lib/causality/record-encoding.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import type { MemberId } from "../../lib/cluster/member.js";
import { silentLog } from "../../lib/log.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings, type LsmSettings } from "../../lib/lsm/lsm-settings.js";
import type { PeerRequest } from "../../lib/peer/peer.js";
import { DataKeys } from "../../lib/replica/data-key.js";
import { Fence } from "../../lib/replica/fence.js";
import { Handoff, type HandoffOptions } from "../../lib/replica/handoff.js";
import { Hints } from "../../lib/replica/hints.js";
import { MetaStore } from "../../lib/replica/meta-store.js";
import { AnswerStatus, ReplicaKind, StoreRequest } from "../../lib/replica/replica-messages.js";
import { TestNode, type World } from "../peer/world.js";
import type { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { Trace } from "../sim/trace.js";

const keys = new DataKeys();

export function keyOf(name: string, database = 0): string {
  return keys.of(database, Buffer.from(name, "latin1"));
}

/** The member of this number. */
export function idOf(number: number): MemberId {
  return number.toString(16).padStart(16, "0");
}

/** A record of one version: the `sequence`th write of a store, which has seen what `seen` says. */
export function recordOf(store: string, sequence: number, value: string, seen: { [store: string]: number } = {}): Buffer {
  const dot = { actor: actor(store), sequence };
  let context = VersionVector.of(dot);
  for (const [name, last] of Object.entries(seen))
    context = context.join(VersionVector.of({ actor: actor(name), sequence: last }));
  const version: Version = {
    dot,
    stamp: sequence,
    expiryMs: 0,
    type: "string",
    value: Buffer.from(value, "latin1"),
    writeId: null,
    fields: [],
  };
  return encodeRecord({ context, versions: [version] });
}

function actor(store: string): string {
  return actorOf(store.padEnd(8, "."), 1);
}

/** The values in a record, sorted; none for null. */
export function valuesOf(bytes: Uint8Array | null): string[] {
  if (bytes === null) return [];
  return decodeRecord(bytes)
    .versions.map((version) => Buffer.from(version.value!).toString("latin1"))
    .sort();
}

export interface EngineOptions {
  readonly clock: SimClock;
  readonly disk?: SimDisk;
  readonly seed?: number;
  readonly settings?: Partial<LsmSettings>;
}

export async function openEngine(options: EngineOptions): Promise<{ lsm: Lsm; disk: SimDisk }> {
  const { clock } = options;
  const random = new SimRandom(options.seed ?? 7);
  const disk = options.disk ?? new SimDisk({ clock, random: random.fork(), trace: new Trace() });
  const workers = new SimWorkers({ clock, disk, random: random.fork(), jobs: lsmJobs(), stepMsMax: 1 });
  const lsm = await clock.run(
    Lsm.open({
      disk,
      clock,
      workers,
      log: silentLog,
      directory: "/store",
      settings: {
        ...defaultLsmSettings,
        counters: 1,
        blockCacheBytes: 2 ** 20,
        memoryTableBytes: 2 ** 20,
        ...options.settings,
      },
    }),
  );
  return { lsm, disk };
}

/** What a crash leaves of a disk. */
export function afterCrash(disk: SimDisk, clock: SimClock): SimDisk {
  return disk.restart({ clock, random: new SimRandom(3), trace: new Trace() });
}

export interface CopiesSettings {
  hintsMaxBytes: number;
  hintsMaxAgeMs: number;
  handoffInFlight: number;
  handoffRateBytes: number;
}

/** A member: it stores what it is sent, merged, and looks after its hints. */
export class CopyNode {
  readonly number: number;
  readonly node: TestNode;
  readonly lsm: Lsm;
  readonly disk: SimDisk;
  readonly hints: Hints;
  readonly handoff: Handoff;
  readonly settings: CopiesSettings;
  readonly world: World;
  ringVersion = 1;
  /** Data keys that were handed over to it, in order, refused ones included. */
  readonly taken: string[] = [];
  readonly staleRings: MemberId[] = [];
  /** Members of the ring, by number. */
  members: readonly number[] = [1, 2, 3, 4];
  owners: readonly number[] = [1, 2, 3];
  /** Who is to have what an owner has, by that owner. */
  readonly coming = new Map<number, readonly number[]>();
  /** What becomes of a handover: true when it has been answered. */
  onHandover: (request: PeerRequest, dataKey: string) => boolean = () => false;
  /** Milliseconds that a handover takes here. */
  handoverMs = 0;
  handling = 0;
  handlingMax = 0;

  private constructor(world: World, number: number, parts: Pick<CopyNode, "node" | "lsm" | "disk" | "hints" | "settings">) {
    this.world = world;
    this.number = number;
    this.node = parts.node;
    this.lsm = parts.lsm;
    this.disk = parts.disk;
    this.hints = parts.hints;
    this.settings = parts.settings;
    const { node, hints, lsm } = parts;
    const options: HandoffOptions = {
      carrying: new Fence(),
      hints,
      lsm,
      peers: node.peers,
      clock: node.clock,
      log: { ...silentLog, warn: (_, message) => void node.logged.push(message) },
      settings: parts.settings,
      self: node.id,
      ring: {
        version: () => this.ringVersion,
        changedAt: () => this.ringVersion,
        ownersOf: () => this.owners.map(idOf),
        comingFor: (_, owner) => (this.coming.get(Number.parseInt(owner, 16)) ?? []).map(idOf),
      },
      isMember: (member) => this.members.some((other) => idOf(other) === member),
      store: (dataKey, bytes, start, end) => this.merge(dataKey, Buffer.from(bytes.subarray(start, end))),
      onStaleRing: (from) => void this.staleRings.push(from),
      nameOf: (member) => `node-${Number.parseInt(member, 16)}`,
    };
    this.handoff = new Handoff(options);
    node.peers.serve(ReplicaKind.handover, (request) => this.#handle(request));
  }

  static async start(
    world: World,
    number: number,
    options: { readonly disk?: SimDisk; readonly settings?: Partial<CopiesSettings>; readonly lsm?: Partial<LsmSettings> } = {},
  ): Promise<CopyNode> {
    const settings = {
      hintsMaxBytes: 2 ** 30,
      hintsMaxAgeMs: 10_800_000,
      handoffInFlight: 64,
      handoffRateBytes: 2 ** 23,
      ...options.settings,
    };
    const { lsm, disk } = await openEngine({
      clock: world.clock,
      seed: number,
      ...(options.disk === undefined ? {} : { disk: options.disk }),
      ...(options.lsm === undefined ? {} : { settings: options.lsm }),
    });
    const node = new TestNode(world, idOf(number), number, {});
    const meta = await world.clock.run(MetaStore.open(lsm));
    const hints = await world.clock.run(Hints.open({ lsm, meta, clock: node.clock, log: silentLog, settings }));
    const member = new CopyNode(world, number, { node, lsm, disk, hints, settings });
    await world.clock.run(node.peers.listen(node.address));
    member.handoff.start();
    return member;
  }

  get id(): MemberId {
    return this.node.id;
  }

  knows(...others: CopyNode[]): void {
    for (const other of others) this.node.knows(other.node);
  }

  /** It is gone at once, and its disk is what a crash leaves of it. */
  async crash(): Promise<SimDisk> {
    const disk = afterCrash(this.disk, this.world.clock);
    await this.stop();
    return disk;
  }

  async stop(): Promise<void> {
    await this.world.clock.run(this.handoff.stop());
    await this.world.clock.run(this.node.peers.close());
  }

  /** Stores a record as its own. */
  put(dataKey: string, record: Buffer): void {
    this.lsm.put(dataKey, record, 0, record.length);
  }

  /** Stores a record merged with its own. */
  async merge(dataKey: string, record: Buffer): Promise<void> {
    let merged: Record = decodeRecord(record);
    const old = await this.lsm.read(dataKey);
    if (old !== null) merged = merge(decodeRecord(old), merged);
    this.put(dataKey, encodeRecord(merged));
    await this.lsm.committed();
  }

  async valuesOf(dataKey: string): Promise<string[]> {
    return valuesOf(await this.world.clock.run(this.lsm.read(dataKey)));
  }

  #handle(request: PeerRequest): void {
    const store = new StoreRequest();
    store.read(request.payload);
    const { dataKey, ringVersion } = store;
    const record = Buffer.from(request.payload.subarray(store.record.start, store.record.end));
    this.taken.push(dataKey);
    if (this.onHandover(request, dataKey)) return;
    if (ringVersion < this.ringVersion) {
      request.answer(Buffer.of(AnswerStatus.staleRing));
      return;
    }
    this.handling++;
    this.handlingMax = Math.max(this.handlingMax, this.handling);
    const work = async (): Promise<void> => {
      await this.merge(dataKey, record);
      this.handling--;
      request.answer(Buffer.of(AnswerStatus.ok));
    };
    this.node.clock.after(this.handoverMs, () => void work());
  }
}

/** Members 1 to `count`, all linked. */
export async function startAll(
  world: World,
  count: number,
  options: { readonly settings?: Partial<CopiesSettings> } = {},
): Promise<CopyNode[]> {
  const nodes: CopyNode[] = [];
  for (let number = 1; number <= count; number++) nodes.push(await CopyNode.start(world, number, options));
  for (const node of nodes) node.knows(...nodes.filter((other) => other !== node));
  await world.pass(20);
  return nodes;
}
