/** Nodes of a simulated network in virtual time, each with a clock that can stop as a process does under SIGSTOP. */
import type { Log } from "../../lib/log.js";
import {
  defaultPeerSettings,
  type PeerCall,
  type PeerFailureCode,
  type PeerHello,
  type PeerObjection,
  type PeerSettings,
  Peers,
  type ProtocolVersions,
} from "../../lib/peer/peer.js";
import { ProcessClock } from "../sim/process-clock.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimNetwork } from "../sim/sim-network.js";
import { SimRandom } from "../sim/sim-random.js";

export interface NodeOptions {
  readonly settings?: Partial<PeerSettings>;
  readonly admit?: (hello: PeerHello) => PeerObjection | null;
  readonly clusterId?: string | null;
  readonly blob?: string;
  readonly port?: number;
  /** Of the protocol. Default: all that there are. */
  readonly versions?: ProtocolVersions;
  /** The name of its machine in the network. Default: its id. */
  readonly machine?: string;
  /** How far its monotonic clock is ahead of the world's. */
  readonly aheadMs?: number;
}

export class TestNode {
  readonly id: string;
  readonly port: number;
  readonly machine: string;
  readonly peers: Peers;
  readonly clock: ProcessClock;
  readonly world: World;
  readonly logged: string[] = [];
  readonly ups: string[] = [];
  readonly downs: string[] = [];
  readonly hellos: PeerHello[] = [];

  constructor(world: World, id: string, port: number, options: NodeOptions) {
    this.world = world;
    this.id = id;
    this.port = port;
    this.machine = options.machine ?? id;
    this.clock = new ProcessClock(world.clock, options.aheadMs ?? 0);
    const note = (_: object, message: string): void => {
      this.logged.push(message);
    };
    const log: Log = { debug: () => undefined, info: note, warn: note, error: note };
    this.peers = new Peers({
      network: world.network.endpoint(this.machine),
      clock: this.clock,
      random: world.random.fork(),
      log,
      settings: { ...defaultPeerSettings(), ...options.settings },
      identity: () => ({
        peerId: id,
        clusterId: options.clusterId ?? null,
        settings: Buffer.from(options.blob ?? `blob of ${id}`),
      }),
      admit: (hello) => {
        this.hellos.push(hello);
        return options.admit?.(hello) ?? null;
      },
      ...(options.versions === undefined ? {} : { versions: options.versions }),
    });
    this.peers.onUp((peerId) => this.ups.push(peerId));
    this.peers.onDown((peerId) => this.downs.push(peerId));
  }

  get address(): { host: string; port: number } {
    return { host: this.id, port: this.port };
  }

  knows(other: TestNode): void {
    this.peers.setAddress(other.id, other.address);
  }

  deadline(inMs = 1_000): number {
    return this.clock.monotonicMs() + inMs;
  }

  /** Sends text of kind 1 and collects the outcome. */
  ask(to: string, text: string, options: { inMs?: number; kind?: number } = {}): Outcome {
    const outcome = new Outcome(to, options.kind ?? 1, Buffer.from(text), this.deadline(options.inMs));
    this.peers.send(outcome);
    return outcome;
  }

  stop(): void {
    this.clock.stop();
    this.world.network.freeze(this.machine);
  }

  goOn(): void {
    this.clock.goOn();
    this.world.network.thaw(this.machine);
  }
}

export class Outcome implements PeerCall {
  readonly to: string;
  readonly kind: number;
  readonly payload: Buffer;
  readonly deadlineMs: number;
  answer: string | null = null;
  failure: PeerFailureCode | null = null;
  text = "";
  /** How often it was told something; must end at 1. */
  told = 0;

  constructor(to: string, kind: number, payload: Buffer, deadlineMs: number) {
    this.to = to;
    this.kind = kind;
    this.payload = payload;
    this.deadlineMs = deadlineMs;
  }

  onAnswer(payload: Buffer): void {
    this.told++;
    this.answer = payload.toString("latin1");
  }

  onFailure(code: PeerFailureCode, text: string): void {
    this.told++;
    this.failure = code;
    this.text = text;
  }

  get result(): string | null {
    return this.answer ?? this.failure;
  }
}

export class World {
  readonly clock = new SimClock();
  readonly random: SimRandom;
  readonly network: SimNetwork;
  #port = 1;

  constructor(options: { seed?: number; cut?: (length: number) => number } = {}) {
    this.random = new SimRandom(options.seed ?? 1);
    this.network = new SimNetwork({ clock: this.clock, ...(options.cut === undefined ? {} : { cut: options.cut }) });
  }

  /** A node that listens and answers kind 1 with what it was sent. */
  async node(id: string, options: NodeOptions = {}): Promise<TestNode> {
    const node = new TestNode(this, id, options.port ?? this.#port++, options);
    node.peers.serve(1, (request) => request.answer(request.payload));
    await this.clock.run(node.peers.listen(node.address));
    return node;
  }

  /** Two nodes, `a` linked to `b`. */
  async pair(a: NodeOptions = {}, b: NodeOptions = {}): Promise<[TestNode, TestNode]> {
    const [first, second] = [await this.node("a", a), await this.node("b", b)];
    first.knows(second);
    await this.pass(20);
    return [first, second];
  }

  pass(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }
}
