/**
 * Whole rings below the commands, in virtual time: each node has an engine on a simulated disk, links to all others, and all
 * of replica/ and coordinator/. Rings are documents made by hand, one token a node, so that a test knows who owns what: the
 * slots are cut into as many arcs as there are nodes, and the arc of the n-th belongs to n, n + 1, n + 2.
 */
import { expect } from "chai";
import { COVERS_ALL } from "../../lib/causality/record.js";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import type { MemberId } from "../../lib/cluster/member.js";
import { Ring } from "../../lib/cluster/ring.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import { OperatingError } from "../../lib/errors.js";
import type { FsyncPolicy } from "../../lib/lsm/lsm-settings.js";
import type { PeerSettings } from "../../lib/peer/peer.js";
import { auditReplica } from "../../lib/replica/audit.js";
import { DataKeys, slotOfDataKey } from "../../lib/replica/data-key.js";
import { documentOf, memberOf, numbered } from "../cluster/members.js";
import { ProcessClock } from "../sim/process-clock.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimNetwork } from "../sim/sim-network.js";
import { SimRandom } from "../sim/sim-random.js";
import { Trace } from "../sim/trace.js";
import { RingClient } from "./ring-client.js";
import { RingNode } from "./ring-node.js";

export interface RingSettings {
  fsync: FsyncPolicy;
  maxPairBytes: number;
  requestTimeoutMs: number;
  siblingsMax: number;
  queuedMax: number;
  hintsMaxBytes: number;
  hintsMaxAgeMs: number;
  peers: Partial<PeerSettings>;
}

export interface RingWorldOptions {
  readonly nodes: number;
  readonly replicas?: number;
  readonly seed?: number;
  /** One way, in milliseconds. */
  readonly delayMs?: number;
  /** Data centres dc1, dc2, ... that nodes are in, in turn: the first in dc1, the second in dc2. */
  readonly centres?: number;
  /** One way between two of those. */
  readonly linkMs?: number;
  readonly settings?: Partial<RingSettings>;
}

const SLOTS = 16_384;

export class RingWorld {
  readonly clock = new SimClock();
  readonly network = new SimNetwork({ clock: this.clock, onDeliver: (from, to, bytes) => this.#count(from, to, bytes) });
  readonly random: SimRandom;
  readonly settings: RingSettings;
  readonly delayMs: number;
  readonly centres: number;
  readonly linkMs: number;
  ring: Ring;
  readonly nodes: RingNode[] = [];
  readonly #keys = new DataKeys();
  #keyCount = 0;
  #bytesCrossed = 0;

  private constructor(options: RingWorldOptions) {
    this.random = new SimRandom(options.seed ?? 1);
    this.delayMs = options.delayMs ?? 0.25;
    this.centres = options.centres ?? 1;
    this.linkMs = options.linkMs ?? 25;
    this.settings = {
      fsync: "everysec",
      maxPairBytes: 10_240,
      requestTimeoutMs: 2_000,
      siblingsMax: 64,
      queuedMax: 1_000,
      hintsMaxBytes: 2 ** 30,
      hintsMaxAgeMs: 10_800_000,
      peers: {},
      ...options.settings,
    };
    this.ring = new Ring(this.document(options.nodes, { replicas: { default: options.replicas ?? 3, dcs: [] } }));
  }

  static async start(options: RingWorldOptions): Promise<RingWorld> {
    const world = new RingWorld(options);
    for (let number = 1; number <= options.nodes; number++) await world.#add(number);
    await world.pass(world.centres === 1 ? 50 : 1_000);
    return world;
  }

  /** A document with members 1 to `count`, each with one token at the end of its arc. */
  document(count: number, differences: Partial<RingDocument> = {}): RingDocument {
    const members = numbered(count, (number) =>
      memberOf(number, { tokens: [this.tokenOf(number, count)], dc: this.centreOf(number) }),
    );
    return documentOf(members, differences);
  }

  centreOf(number: number): string {
    return `dc${((number - 1) % this.centres) + 1}`;
  }

  /** Bytes that have arrived from other data centres so far, at all nodes. */
  get bytesCrossed(): number {
    return this.#bytesCrossed;
  }

  #count(from: string, to: string, bytes: number): void {
    const [one, other] = [from, to].map((id) => this.centreOf(Number.parseInt(id, 16)));
    if (one !== other) this.#bytesCrossed += bytes;
  }

  tokenOf(number: number, count: number): number {
    return Math.floor((number * SLOTS) / count) - 1;
  }

  /** A member that the ring does not have yet. */
  async addNode(): Promise<RingNode> {
    const node = await this.#add(this.nodes.length + 1);
    await this.pass(50);
    return node;
  }

  async #add(number: number): Promise<RingNode> {
    const clock = new ProcessClock(this.clock, number * 1_000);
    const disk = new SimDisk({ clock, random: this.random.fork(), trace: new Trace() });
    return this.#open(number, disk, clock);
  }

  async #open(number: number, disk: SimDisk, clock: ProcessClock): Promise<RingNode> {
    const node = await RingNode.open(this, number, disk, clock);
    this.nodes[number - 1] = node;
    await this.clock.run(node.peers.listen({ host: node.id, port: number }));
    for (const other of this.nodes) {
      if (other === node) continue;
      const delayMs = this.centreOf(number) === this.centreOf(other.number) ? this.delayMs : this.linkMs;
      this.network.setDelay(node.id, other.id, delayMs);
      this.network.setDelay(other.id, node.id, delayMs);
      node.peers.setAddress(other.id, { host: other.id, port: other.number });
      if (!other.isDead) other.peers.setAddress(node.id, { host: node.id, port: number });
    }
    return node;
  }

  /** The node of this number, from 1. */
  node(number: number): RingNode {
    return this.nodes[number - 1]!;
  }

  client(number: number, words = ""): RingClient {
    return new RingClient(this.node(number), words);
  }

  idOf(number: number): MemberId {
    return memberOf(number).id;
  }

  nameOfStore(storeId: string): string | null {
    const node = this.nodes.find(({ identity }) => identity.storeId === storeId);
    return node === undefined ? null : `n${node.number}`;
  }

  /** A key that nobody has used, whose first owners are these. */
  key(...owners: number[]): string {
    for (;;) {
      const key = `key-${this.#keyCount++}`;
      if (owners.every((owner, at) => this.ownersOf(key)[at] === owner)) return key;
    }
  }

  dataKey(key: string): string {
    return this.#keys.of(0, Buffer.from(key, "latin1"));
  }

  slotOf(key: string): number {
    return slotOfDataKey(this.dataKey(key));
  }

  ownersOf(key: string): number[] {
    const { old } = this.ring.owners(this.slotOf(key));
    return [...old].map((index) => Number.parseInt(this.ring.members[index]!.id, 16));
  }

  /** A ring that these nodes (default: all) learn of at once. */
  pushRing(document: RingDocument, numbers: readonly number[] = this.nodes.map(({ number }) => number)): void {
    this.ring = new Ring(document);
    for (const number of numbers) this.node(number).learn(this.ring);
  }

  // Failures.

  freeze(number: number): void {
    this.node(number).clock.stop();
    this.network.freeze(this.idOf(number));
  }

  thaw(number: number): void {
    this.node(number).clock.goOn();
    this.network.thaw(this.idOf(number));
  }

  /** These cannot reach the others. */
  split(...numbers: number[]): void {
    const others = this.nodes.map(({ number }) => number).filter((number) => !numbers.includes(number));
    this.cut(numbers, others);
  }

  cut(some: readonly number[], others: readonly number[]): void {
    const ids = (numbers: readonly number[]): string[] => numbers.map((number) => this.idOf(number));
    this.network.cutOff(ids(some), ids(others));
  }

  heal(): void {
    this.network.heal();
  }

  /** As by kill -9: what it has given to the system stays, the process is gone and its connections are reset. */
  async kill(number: number): Promise<void> {
    const node = this.node(number);
    node.isDead = true;
    node.clock.stop();
    this.network.thaw(node.id);
    await node.peers.close();
    for (const tell of node.deaths.splice(0)) tell();
  }

  /** Starts again on what `kill` left. */
  async restart(number: number): Promise<RingNode> {
    const old = this.node(number);
    const clock = new ProcessClock(this.clock, number * 1_000 + 37);
    clock.wallAheadMs = old.clock.wallAheadMs;
    const disk = old.disk.copy({ clock, random: this.random.fork(), trace: new Trace() });
    return this.#open(number, disk, clock);
  }

  // Time.

  pass(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  /** Waits in virtual time. */
  run<Result>(work: Promise<Result>): Promise<Result> {
    return this.clock.run(work);
  }

  runAll<Result>(works: readonly Promise<Result>[]): Promise<Result[]> {
    return this.clock.run(Promise.all(works));
  }

  /** What a promise rejects with; fails when it does not. */
  async failureOf(work: Promise<unknown>): Promise<OperatingError> {
    const outcome = await this.run(
      work.then(
        () => null,
        (error: unknown) => error,
      ),
    );
    if (outcome instanceof OperatingError) return outcome;
    throw outcome ?? new Error("nothing was refused");
  }

  /** Milliseconds that it took, however it ended. */
  async timeOf(work: Promise<unknown>): Promise<number> {
    const startMs = this.clock.monotonicMs();
    let endMs = startMs;
    // Noted at once: before `run` returns, others who let time pass may have gone on.
    const noted = (): void => {
      endMs = this.clock.monotonicMs();
    };
    await this.run(work.then(noted, noted));
    return endMs - startMs;
  }

  // What there is.

  /** The values that a node's own copy has, newest first; null for a removal. */
  async held(number: number, key: string): Promise<(string | null)[]> {
    const bytes = await this.run(this.node(number).lsm.read(this.dataKey(key)));
    return bytes === null ? [] : valuesOf(bytes);
  }

  /** The values that a node keeps as hints for these. */
  async hinted(number: number, key: string, ...targets: number[]): Promise<(string | null)[]> {
    const values = targets.map(async (target) => {
      const bytes = await this.run(this.node(number).hints.read(this.dataKey(key), [this.idOf(target)]));
      return bytes === null ? [] : valuesOf(bytes);
    });
    return (await Promise.all(values)).flat();
  }

  hintsAt(number: number): number {
    return this.node(number).hints.count;
  }

  /** Lets time pass until no node keeps a hint. */
  async untilNoHints(limitMs = 120_000): Promise<void> {
    const startMs = this.clock.monotonicMs();
    while (this.nodes.some(({ hints, isDead }) => !isDead && hints.count > 0)) {
      if (this.clock.monotonicMs() - startMs > limitMs) throw new Error("hints stay");
      await this.pass(100);
    }
  }

  /** Every owner holds the same record of every key, and all counts are right. */
  async expectConverged(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const copies = await Promise.all(this.ownersOf(key).map((owner) => this.node(owner).lsm.read(this.dataKey(key))));
      for (const copy of copies) expect(copy?.toString("hex"), `copies of ${key}`).to.equal(copies[0]?.toString("hex"));
    }
    for (const node of this.nodes) expect(await this.run(auditReplica(node.replica))).to.deep.equal([]);
  }
}

/** Has one node store a version that it sends to nobody. */
export function mintAt(world: RingWorld, number: number, key: string, value: string, writeId: string | null = null): void {
  const { replica } = world.node(number);
  const dataKey = world.dataKey(key);
  replica.reserve(1);
  const old = replica.peek(dataKey) === "found" ? replica.record : null;
  replica.mint(dataKey, old, COVERS_ALL, { value: Buffer.from(value), expiryMs: 0, writeId });
}

function valuesOf(bytes: Buffer): (string | null)[] {
  return decodeRecord(bytes).versions.map(({ value }) => (value === null ? null : Buffer.from(value).toString("latin1")));
}
