/**
 * Members on this machine, each a process of its own, as `kindred cluster` runs them. Those whose directories have data are
 * started again, those that run already (of a supervisor that was killed) are taken as they are. A child that dies is started
 * again, after a pause that doubles; one that ends in order has left or was told to stop, and stays so.
 *
 * INVARIANT: once `stop` has resolved no child of this process is left.
 */
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Child, ChildEnd, Children } from "../host/children.js";
import { type Clock, pause, type Timer } from "../host/clock.js";
import type { ObservedMember } from "./observation.js";
import type { Growth, Provider, Shrinkage } from "./provider.js";

/** A member that there may be: the first is the first to be started. */
export interface LocalMember {
  readonly name: string;
  readonly port: number;
  /** Of `kindred`. */
  readonly args: readonly string[];
}

export interface LocalOptions {
  readonly children: Children;
  readonly clock: Clock;
  /** As many as there may be. */
  readonly members: readonly LocalMember[];
  /** Names of those to start with, the founder alone first where there is no ring yet. */
  readonly first: readonly string[];
  readonly isNew: boolean;
  /** Whether that very member answers at its port. */
  readonly isRunning: (member: LocalMember) => Promise<boolean>;
  /** Has the node at this address leave as long as the ring has this version. */
  readonly leave: (address: string, ringVersion: number) => Promise<void>;
  readonly output: (text: string) => void;
}

const READY_MS_MAX = 120_000;
const STOP_MS_MAX = 30_000;
const AGAIN_MS_MIN = 1_000;
const AGAIN_MS_MAX = 60_000;
/** One that has run for so long had nothing wrong with its start. */
const STEADY_MS = 60_000;

interface Runner {
  readonly member: LocalMember;
  child: Child | null;
  startedMs: number;
  againMs: number;
  lastLine: string;
}

export class LocalProvider implements Provider {
  readonly #options: LocalOptions;
  readonly #runners: readonly Runner[];
  readonly #again = new Set<Timer>();
  #isStopping = false;

  constructor(options: LocalOptions) {
    this.#options = options;
    this.#runners = options.members.map((member) => ({
      member,
      child: null,
      startedMs: 0,
      againMs: AGAIN_MS_MIN,
      lastLine: "",
    }));
  }

  /** Resolves when all of those to start with are ready. Rejects with UNAVAILABLE when one is not: `stop` then ends the others. */
  async start(): Promise<void> {
    const { first, isNew, isRunning } = this.#options;
    const wanted = this.#runners.filter(({ member }) => first.includes(member.name));
    const begin = async (runner: Runner): Promise<void> => {
      if (this.#isStopping) return;
      if (!isNew && (await isRunning(runner.member))) return this.#say(`${runner.member.name} runs already`);
      await this.#start(runner);
    };
    const [founder, ...others] = wanted;
    if (founder !== undefined && isNew) await begin(founder);
    await Promise.all((isNew ? others : wanted).map(begin));
  }

  /** Ends all children in order, and at once those that take too long. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    for (const timer of this.#again) timer.cancel();
    const running = this.#runners.flatMap(({ child }) => child ?? []);
    for (const child of running) child.signal("SIGTERM");
    const killing = this.#options.clock.after(STOP_MS_MAX, () => this.kill());
    await Promise.all(running.map(({ ended }) => ended));
    killing.cancel();
  }

  kill(): void {
    for (const { child } of this.#runners) child?.signal("SIGKILL");
  }

  /** The last ones first. */
  leavers(members: readonly ObservedMember[]): readonly string[] {
    const named = [...this.#runners].reverse().map(({ member }) => members.find(({ name }) => name === member.name));
    return named.flatMap((member) => member?.id ?? []);
  }

  async grow({ names }: Growth): Promise<void> {
    const free = this.#runners.find(({ member, child }) => child === null && !names.includes(member.name));
    if (free === undefined) throw new OperatingError("UNAVAILABLE", "no name is free for another member (--max)");
    this.#say(`starting ${free.member.name}`);
    await this.#start(free);
  }

  async shrink({ member, ringVersion }: Shrinkage): Promise<void> {
    const own = this.#runners.find((runner) => runner.member.name === member.name);
    const address = member.clientAddress ?? (own === undefined ? null : `127.0.0.1:${own.member.port}`);
    if (address === null) throw new OperatingError("UNAVAILABLE", `it is not known where ${member.name} is`);
    await this.#options.leave(address, ringVersion);
  }

  /** Resolves when it is ready. Rejects with UNAVAILABLE when it ends instead, or takes too long: it goes on then. */
  async #start(runner: Runner): Promise<void> {
    const { children, clock, output } = this.#options;
    const { member } = runner;
    let isReady = false;
    let onReady!: () => void;
    const ready = new Promise<void>((resolve) => {
      onReady = resolve;
    });
    const child = await children.start({
      args: member.args,
      onLine: (line) => {
        runner.lastLine = line;
        output(`${member.name} | ${line}\n`);
      },
      onReady: () => {
        isReady = true;
        onReady();
      },
    });
    runner.child = child;
    runner.startedMs = clock.monotonicMs();
    if (this.#isStopping) child.signal("SIGTERM");
    const early = child.ended.then((end) => {
      runner.child = null;
      if (isReady) return this.#noteEnd(runner, end);
      if (this.#isStopping) return;
      throw new OperatingError("UNAVAILABLE", `${member.name} ended before it was ready: ${runner.lastLine}`);
    });
    const late = pause(clock, READY_MS_MAX).then(() => {
      if (!isReady) throw new OperatingError("UNAVAILABLE", `${member.name} is not ready after ${READY_MS_MAX / 1_000} s`);
    });
    late.catch(() => undefined);
    await Promise.race([ready, early, late]);
    // From here on its end is no failure of the start.
    early.catch(() => undefined);
  }

  #noteEnd(runner: Runner, { code, signal }: ChildEnd): void {
    if (this.#isStopping) return;
    const { name } = runner.member;
    if (code === 0) return this.#say(`${name} has ended in order`);
    this.#startAgain(runner, `${name} ended unexpectedly (${signal ?? `exit code ${code}`})`);
  }

  #startAgain(runner: Runner, why: string): void {
    const { clock } = this.#options;
    if (clock.monotonicMs() - runner.startedMs > STEADY_MS) runner.againMs = AGAIN_MS_MIN;
    const delayMs = runner.againMs;
    runner.againMs = Math.min(2 * delayMs, AGAIN_MS_MAX);
    this.#say(`${why}: it is started again in ${delayMs / 1_000} s`);
    const timer = clock.after(delayMs, () => {
      this.#again.delete(timer);
      background(
        this.#start(runner).catch((error: unknown) => {
          if (!(error instanceof OperatingError)) throw error;
          if (!this.#isStopping && runner.child === null) this.#startAgain(runner, messageOf(error));
        }),
      );
    });
    this.#again.add(timer);
  }

  #say(text: string): void {
    this.#options.output(`kindred autoscale: ${text}\n`);
  }
}
