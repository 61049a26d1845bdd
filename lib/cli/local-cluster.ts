/**
 * `kindred cluster`: several members on this machine, each a process of its own, started together and stopped together.
 * It restarts none: who ended is said, and the others go on, as members of a cluster do.
 *
 * Invariant: however `run` settles, no child is left; only a kill of this process itself leaves them running.
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import { OperatingError } from "../errors.js";
import type { Child, ChildEnd, Children } from "../host/children.js";
import type { Clock, Timer } from "../host/clock.js";
import { commandLine, type MemberPlan } from "./cluster-plan.js";

export interface LocalClusterOptions {
  readonly children: Children;
  readonly clock: Clock;
  /** At least one; a founder is the first. */
  readonly members: readonly MemberPlan[];
  readonly output: (text: string) => void;
  /** What to print once all are ready, given the process id of each. */
  readonly announcement: (processIds: readonly number[]) => string;
}

/** While members are not ready, it is said so often whom it waits for: replaying a long log takes its time. */
const WAITING_MS = 10_000;
/** What the reason of a program that refuses to start begins with. */
const REFUSAL = "kindred: ";

interface Runner {
  readonly plan: MemberPlan;
  child: Child | null;
  state: "not started" | "starting" | "ready" | "ended";
  /** The last line it wrote, its refusal before all others: of a start that failed, why. */
  lastLine: string;
}

export class LocalCluster {
  readonly #options: LocalClusterOptions;
  readonly #runners: readonly Runner[];
  readonly #nameWidth: number;
  /** How often it was asked to stop. */
  #stops = 0;
  /** Did all who were running when they were asked to stop do so in order? */
  #isClean = true;
  #reminder: Timer | null = null;

  constructor(options: LocalClusterOptions) {
    assert(options.members.length > 0, "local cluster: at least one member");
    this.#options = options;
    this.#runners = options.members.map((plan) => ({ plan, child: null, state: "not started", lastLine: "" }));
    this.#nameWidth = Math.max(...options.members.map(({ name }) => name.length));
  }

  /**
   * Starts all members and resolves when all have ended: `clean` when they were stopped and each put its data in order.
   * Rejects with an `OperatingError` when one ends before it is ready.
   */
  async run(): Promise<"clean" | "not clean"> {
    const founder = this.#runners.filter(({ plan }) => plan.isFounder);
    const others = this.#runners.filter(({ plan }) => !plan.isFounder);
    this.#remind();
    try {
      await this.#startAll(founder);
      await this.#startAll(others);
      if (this.#stops === 0) this.#announce();
    } finally {
      this.#reminder?.cancel();
      await this.#allEnded();
    }
    return this.#stops > 0 && this.#isClean ? "clean" : "not clean";
  }

  /** Asks all members to stop; the second time it ends them at once. */
  stop(): void {
    this.#stops++;
    const running = this.#runners.filter(({ child, state }) => child !== null && state !== "ended");
    const names = running.map(({ plan }) => plan.name).join(", ");
    if (running.length > 0) this.#say(this.#stops > 1 ? `killing ${names}` : `stopping ${names}`);
    for (const { child } of running) child!.signal(this.#signal);
  }

  get #signal(): "SIGTERM" | "SIGKILL" {
    return this.#stops > 1 ? "SIGKILL" : "SIGTERM";
  }

  /** Resolves when all are ready, or stop was asked for. When one fails it stops all, and rejects when each has begun to. */
  async #startAll(runners: readonly Runner[]): Promise<void> {
    if (this.#stops > 0) return;
    const outcomes = await Promise.allSettled(
      runners.map(async (runner) => {
        try {
          await this.#start(runner);
        } catch (error) {
          if (this.#stops === 0) this.stop();
          throw error;
        }
      }),
    );
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  async #start(runner: Runner): Promise<void> {
    const { plan } = runner;
    const { children, output } = this.#options;
    let onReady!: () => void;
    const ready = new Promise<void>((resolve) => {
      onReady = resolve;
    });
    const prefix = plan.name.padEnd(this.#nameWidth);
    runner.state = "starting";
    const child = await children.start({
      args: plan.args,
      onLine: (line) => {
        if (line.startsWith(REFUSAL) || !runner.lastLine.startsWith(REFUSAL)) runner.lastLine = line;
        output(`${prefix} | ${line}\n`);
      },
      onReady: () => {
        if (runner.state === "starting") runner.state = "ready";
        onReady();
      },
    });
    runner.child = child;
    // Who was asked to stop while the process began did not know of it.
    if (this.#stops > 0) child.signal(this.#signal);
    background(child.ended.then((end) => this.#noteEnd(runner, end)));
    const early = child.ended.then((end) => {
      if (this.#stops > 0) return;
      throw new OperatingError(
        "UNAVAILABLE",
        `${plan.name} ended before it was ready (${endText(end)}): ${runner.lastLine.replace(REFUSAL, "")}`,
      );
    });
    await Promise.race([ready, early]);
  }

  #noteEnd(runner: Runner, end: ChildEnd): void {
    const wasReady = runner.state === "ready";
    runner.state = "ended";
    if (this.#stops > 0) {
      // One that had not begun to serve had nothing to put in order.
      const isClean = end.code === 0 || (!wasReady && end.signal === "SIGTERM");
      if (!isClean) this.#isClean = false;
      if (!isClean) this.#say(`${runner.plan.name} ended (${endText(end)})`);
      return;
    }
    if (!wasReady) return;
    const left = this.#runners.filter(({ state }) => state !== "ended").length;
    const others = left === 0 ? "no other is left" : `${left} of ${this.#runners.length} go on`;
    // Nobody told it to stop: by itself one ends that has left.
    const again = end.code === 0 ? "To start it again (with --rejoin yes where it has left)" : "To start it again";
    this.#say(`${runner.plan.name} ended (${endText(end)}); ${others}. ${again}: ${commandLine(runner.plan.args)}`);
  }

  async #allEnded(): Promise<void> {
    await Promise.all(this.#runners.map(({ child }) => child?.ended));
  }

  #remind(): void {
    this.#reminder = this.#options.clock.after(WAITING_MS, () => {
      const names = this.#runners.filter(({ state }) => state === "starting").map(({ plan }) => plan.name);
      this.#say(`still waiting for ${names.join(", ")}`);
      this.#remind();
    });
  }

  #announce(): void {
    this.#options.output(this.#options.announcement(this.#runners.map(({ child }) => child!.pid)));
  }

  #say(text: string): void {
    this.#options.output(`kindred cluster: ${text}\n`);
  }
}

function endText({ code, signal }: ChildEnd): string {
  return signal === null ? `exit code ${code}` : signal;
}
