/**
 * Looks at the ring every few seconds, has the policy decide and the provider act, and tells of each decision. It knows nothing
 * that the ring does not show: started again it goes on from there. Two of them at once do no harm: one that leaves does so only
 * while the ring is the one that was decided on, and of two that ask an orchestrator both ask for the same number.
 */
import type { StatusReply } from "../commands/cluster-view.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { Observation, Sample } from "./observation.js";
import type { Decision, ScalePolicy } from "./policy.js";
import type { Provider } from "./provider.js";

export type ScaleEvent =
  | { readonly kind: "decision"; readonly decision: Decision; readonly status: StatusReply; readonly sample: Sample | null }
  /** Nobody could be asked. */
  | { readonly kind: "blind"; readonly reason: string }
  | { readonly kind: "failed"; readonly what: string; readonly reason: string };

export interface SupervisorOptions {
  readonly clock: Clock;
  readonly policy: ScalePolicy;
  readonly provider: Provider;
  /** Rejects with an `OperatingError`, within a time of its own. */
  readonly look: () => Promise<StatusReply>;
  readonly periodMs: number;
  readonly report: (event: ScaleEvent) => void;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  #underWay: string | null = null;
  #isStopped = false;
  #timer: Timer | null = null;
  #wake: (() => void) | null = null;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Resolves when it was stopped. What the provider was asked for goes on. */
  async run(): Promise<void> {
    while (!this.#isStopped) {
      await this.step();
      await this.#rest();
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#wake?.();
  }

  /** One look, and what follows from it. */
  async step(): Promise<void> {
    const { clock, policy, provider, look, report } = this.#options;
    let status: StatusReply;
    try {
      status = await look();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      if (!this.#isStopped) report({ kind: "blind", reason: messageOf(error) });
      return;
    }
    if (this.#isStopped) return;
    const observation: Observation = {
      atMs: clock.monotonicMs(),
      ringVersion: status.ringVersion,
      members: status.members,
      replicas: status.replicas,
      pending: status.pending,
      leavers: provider.leavers(status.members),
      underWay: this.#underWay,
    };
    const decision = policy.decide(observation);
    report({ kind: "decision", decision, status, sample: policy.sample });
    this.#act(decision, status);
  }

  #act(decision: Decision, status: StatusReply): void {
    const { provider } = this.#options;
    if (decision.kind === "grow") {
      const names = status.members.map(({ name }) => name);
      this.#begin(`one more, ${decision.to}`, decision.to, provider.grow({ to: decision.to, names }));
    } else if (decision.kind === "shrink") {
      const { to, memberId, name, ringVersion } = decision;
      const { clientAddress = null } = status.members.find(({ id }) => id === memberId) ?? {};
      const member = { id: memberId, name, clientAddress };
      this.#begin(`one fewer, ${to} without ${name}`, to, provider.shrink({ to, member, ringVersion }));
    }
  }

  #begin(what: string, to: number, work: Promise<void>): void {
    const { clock, policy, report } = this.#options;
    policy.noteBegun(to, clock.monotonicMs());
    this.#underWay = `the provider is at it: ${what}`;
    work.then(
      () => {
        this.#underWay = null;
      },
      (error: unknown) => {
        if (!(error instanceof OperatingError)) throw error;
        this.#underWay = null;
        policy.noteFailed(messageOf(error), clock.monotonicMs());
        if (!this.#isStopped) report({ kind: "failed", what, reason: messageOf(error) });
      },
    );
  }

  #rest(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
      this.#timer = this.#options.clock.after(this.#options.periodMs, resolve);
    });
  }
}
