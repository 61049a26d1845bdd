/**
 * Many members' gossip in one process and virtual time, over a network of messages with seeded delay and loss. Members are
 * numbered from 0; the id of a member is its number + 1 in hex, its port the same.
 */
import { assert } from "../../lib/assert.js";
import type { MemberStatus } from "../../lib/cluster/failure-detector.js";
import { Gossip, type GossipChange, type GossipPeer, type GossipTransport } from "../../lib/cluster/gossip.js";
import type { MemberId } from "../../lib/cluster/member.js";
import type { MemberContents } from "../../lib/cluster/member-entry.js";
import { OperatingError } from "../../lib/errors.js";
import type { Clock, Timer } from "../../lib/host/clock.js";
import { silentLog } from "../../lib/log.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimRandom } from "../sim/sim-random.js";

export function idOf(member: number): MemberId {
  return (member + 1).toString(16).padStart(16, "0");
}

export function contentsOf(member: number): MemberContents {
  return {
    name: `node-${member}`,
    peerAddress: { host: "10.0.0.1", port: member + 1 },
    clientAddress: { host: "10.0.0.1", port: 6379 },
    load: { requestsPerSecond: 0, storedBytes: 0, waitingHints: 0, busyPermille: 0, diskFreeBytes: null },
    storeId: idOf(member),
    sequenceLease: 65_536,
    suspects: [],
    softwareVersion: "0.1.0",
    protocolVersion: 1,
    state: "up",
    ringVersion: 1,
    unknown: [],
  };
}

/** The time of one process, which may be stopped: what was to fire meanwhile fires when it goes on. */
class ProcessClock implements Clock {
  readonly #clock: SimClock;
  #held: (() => void)[] | null = null;

  constructor(clock: SimClock) {
    this.#clock = clock;
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  after(delayMs: number, fire: () => void): Timer {
    return this.#clock.after(delayMs, () => this.run(fire));
  }

  defer(run: () => void): void {
    this.after(0, run);
  }

  run(fire: () => void): void {
    if (this.#held === null) fire();
    else this.#held.push(fire);
  }

  stop(): void {
    this.#held ??= [];
  }

  resume(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const fire of held) fire();
  }
}

const QUANTUM_MS = 5;

interface Process {
  readonly gossip: Gossip;
  readonly clock: ProcessClock;
  isAlive: boolean;
}

export interface StatusEvent {
  readonly atMs: number;
  readonly by: number;
  readonly change: GossipChange;
}

export class GossipWorld {
  readonly clock = new SimClock();
  readonly random: SimRandom;
  readonly #processes: Process[] = [];
  readonly events: StatusEvent[] = [];
  readonly raised: number[] = [];
  readonly ringVersions = new Map<number, number>();
  readonly #due = new Map<number, (() => void)[]>();
  readonly #loss: number;
  readonly #isLoadMoving: boolean;
  /** Whether a message from one member to another gets through. */
  passes: (from: number, to: number) => boolean = () => true;
  /** Of each member, where its load does not move. */
  requestsPerSecond = 0;
  bytes = 0;
  messages = 0;
  largestMessage = 0;

  constructor(options: { seed: number; loss?: number; isLoadMoving?: boolean }) {
    this.random = new SimRandom(options.seed);
    this.#loss = options.loss ?? 0;
    this.#isLoadMoving = options.isLoadMoving ?? false;
  }

  /** Starts members 0 to `count` - 1; all know the first as their seed. */
  static of(count: number, options: { seed: number; loss?: number; isLoadMoving?: boolean }): GossipWorld {
    const world = new GossipWorld(options);
    for (let member = 0; member < count; member++) world.start(member);
    return world;
  }

  /** Members know the first as their seed, unless others are named. */
  start(member: number, generation = this.clock.wallMs(), seeds: readonly number[] = [0]): Gossip {
    const clock = new ProcessClock(this.clock);
    const random = this.random.fork();
    if (!this.ringVersions.has(member)) this.ringVersions.set(member, 1);
    const gossip = new Gossip({
      clock,
      random,
      log: silentLog,
      transport: this.#transportOf(member),
      self: { id: idOf(member), generation, heartbeat: 1, changed: 1, contents: contentsOf(member) },
      seeds: seeds.map((seed) => contentsOf(seed).peerAddress),
      ringVersion: () => this.ringVersions.get(member)!,
      onNewerRing: async (_from, version) => {
        this.ringVersions.set(member, version);
      },
      raiseGeneration: async (above) => {
        const raised = Math.max(above + 1, clock.wallMs());
        this.raised.push(raised);
        return raised;
      },
      load: () => ({
        requestsPerSecond: this.#isLoadMoving ? random.below(100_000) : this.requestsPerSecond,
        storedBytes: 0,
        waitingHints: 0,
        busyPermille: 0,
        diskFreeBytes: null,
      }),
      onChange: (change) => {
        if (change.kind === "status") this.events.push({ atMs: this.clock.monotonicMs(), by: member, change });
      },
    });
    this.#processes[member] = { gossip, clock, isAlive: true };
    clock.after(random.fraction() * 1_000, () => gossip.start());
    return gossip;
  }

  gossip(member: number): Gossip {
    return this.#processes[member]!.gossip;
  }

  kill(member: number): void {
    const process = this.#processes[member]!;
    process.isAlive = false;
    process.gossip.stop();
  }

  pause(member: number): void {
    this.#processes[member]!.clock.stop();
  }

  resume(member: number): void {
    this.#processes[member]!.clock.resume();
  }

  advance(forMs: number): Promise<void> {
    return this.clock.advance(forMs);
  }

  /** Lets time pass until it is so, and returns how long that took. Fails after `limitMs`. */
  async until(isSo: () => boolean, limitMs: number): Promise<number> {
    const startMs = this.clock.monotonicMs();
    while (!isSo()) {
      assert(this.clock.monotonicMs() - startMs < limitMs, "gossip world: it did not come about in time");
      await this.advance(100);
    }
    return this.clock.monotonicMs() - startMs;
  }

  /** What the living members (but itself) hold a member for. */
  views(of: number): MemberStatus[] {
    return this.living()
      .filter((member) => member !== of)
      .map((member) => this.status(member, of));
  }

  status(by: number, of: number): MemberStatus {
    return this.gossip(by).statusOf(idOf(of));
  }

  living(): number[] {
    return [...this.#processes.keys()].filter((member) => this.#processes[member]?.isAlive);
  }

  /** How often a member was held to be down. */
  downs(): number {
    return this.events.filter(({ change }) => change.kind === "status" && change.to === "down").length;
  }

  #transportOf(from: number): GossipTransport {
    return { exchange: (to, bytes, deadlineMs) => this.#exchange(from, to, bytes, deadlineMs) };
  }

  #exchange(from: number, to: GossipPeer, bytes: Buffer, deadlineMs: number): Promise<Buffer> {
    const target = to.address.port - 1;
    const asker = this.#processes[from]!;
    const { clock } = this;
    const fail = (reject: (error: Error) => void) => {
      clock.after(Math.max(0, deadlineMs - clock.monotonicMs()), () =>
        asker.clock.run(() => reject(new OperatingError("TIMEOUT", "no answer"))),
      );
    };
    return new Promise((resolve, reject) => {
      if (!this.#arrives(from, target, bytes)) return fail(reject);
      this.#deliver(() => {
        const other = this.#processes[target];
        if (other === undefined || !other.isAlive) return fail(reject);
        other.clock.run(() => {
          let reply: Buffer;
          try {
            reply = other.gossip.receive(bytes);
          } catch (error) {
            if (!(error instanceof OperatingError)) throw error;
            return fail(reject);
          }
          if (!this.#arrives(target, from, reply) || clock.monotonicMs() > deadlineMs) return fail(reject);
          this.#deliver(() => asker.clock.run(() => resolve(reply)));
        });
      });
    });
  }

  #arrives(from: number, to: number, bytes: Buffer): boolean {
    this.bytes += bytes.length;
    this.messages++;
    this.largestMessage = Math.max(this.largestMessage, bytes.length);
    return this.passes(from, to) && (this.#loss === 0 || !this.random.chance(this.#loss));
  }

  /** Some milliseconds later. Messages due in the same few share one timer: stepping the clock is what costs. */
  #deliver(run: () => void): void {
    const dueMs = Math.ceil((this.clock.monotonicMs() + 1 + 19 * this.random.fraction()) / QUANTUM_MS) * QUANTUM_MS;
    const due = this.#due.get(dueMs);
    if (due !== undefined) {
      due.push(run);
      return;
    }
    this.#due.set(dueMs, [run]);
    this.clock.after(dueMs - this.clock.monotonicMs(), () => {
      const runs = this.#due.get(dueMs)!;
      this.#due.delete(dueMs);
      for (const each of runs) each();
    });
  }
}
