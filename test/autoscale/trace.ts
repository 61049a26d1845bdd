/** A cluster of figures: a load that is shared out among its members, and a policy that looks at them every few seconds. */
import type { Observation, ObservedMember } from "../../lib/autoscale/observation.js";
import { type Decision, ScalePolicy, type ScaleSettings, type StayTopic } from "../../lib/autoscale/policy.js";

export const LOOK_MS = 5_000;
const MINUTE_MS = 60_000;

export const SETTINGS: ScaleSettings = {
  min: 3,
  max: 9,
  targets: { busy: 0.6, requests: null, disk: 0.7 },
  highMark: 1,
  lowMark: 0.7,
  growAfterMs: 30_000,
  shrinkAfterMs: 5 * MINUTE_MS,
  growPauseMs: MINUTE_MS,
  shrinkPauseMs: 10 * MINUTE_MS,
  changeMsMax: 30 * MINUTE_MS,
  staleMs: 15_000,
};

export function member(letter: string, differences: Partial<ObservedMember> = {}): ObservedMember {
  return {
    id: letter.repeat(16),
    name: `node-${letter}`,
    host: `host-${letter}`,
    dc: "dc1",
    weight: 1,
    state: "up",
    requestsPerSecond: 100,
    storedBytes: 10,
    busyPermille: 300,
    diskFreeBytes: 90,
    heardAgoMs: 500,
    ...differences,
  };
}

const LETTERS = "abcdefghijklmnop";

export class Trace {
  readonly policy: ScalePolicy;
  /** Seconds from the start, and what was begun: `30 grow to 4`. */
  readonly begun: string[] = [];
  /** Topics of the looks at which nothing was begun, in order, without repetitions. */
  readonly topics: StayTopic[] = [];
  atMs = 1_000_000;
  names: string[];
  /** Of the whole cluster, in members: 2.1 is seven tenths of each of three. */
  load: (seconds: number) => number = () => 0.9;
  /** How long a change takes. */
  changeMs = 20_000;
  /** What a look says otherwise than this. */
  differences: Partial<Observation> = {};
  each: (each: ObservedMember) => Partial<ObservedMember> = () => ({});
  last: Decision | null = null;
  readonly #startMs = this.atMs;
  #change: { readonly untilMs: number; readonly kind: "join" | "leave"; readonly name: string } | null = null;

  constructor(settings: Partial<ScaleSettings> = {}, members = 3) {
    this.policy = new ScalePolicy({ ...SETTINGS, ...settings });
    this.names = [...LETTERS.slice(0, members)];
  }

  get seconds(): number {
    return (this.atMs - this.#startMs) / 1_000;
  }

  run(forMs: number): this {
    for (const untilMs = this.atMs + forMs; this.atMs < untilMs; this.atMs += LOOK_MS) this.look();
    return this;
  }

  minutes(minutes: number): this {
    return this.run(minutes * MINUTE_MS);
  }

  look(): Decision {
    if (this.#change !== null && this.atMs >= this.#change.untilMs) {
      const { kind, name } = this.#change;
      this.names = kind === "join" ? [...this.names, name] : this.names.filter((other) => other !== name);
      this.#change = null;
    }
    const decision = this.policy.decide(this.observation());
    this.last = decision;
    if (decision.kind === "stay") {
      if (this.topics.at(-1) !== decision.topic) this.topics.push(decision.topic);
      return decision;
    }
    this.begun.push(`${this.seconds} ${decision.kind} to ${decision.to}`);
    this.policy.noteBegun(decision.to, this.atMs);
    const untilMs = this.atMs + this.changeMs;
    if (decision.kind === "grow") {
      const name = [...LETTERS].find((letter) => !this.names.includes(letter))!;
      this.#change = { untilMs, kind: "join", name };
    } else this.#change = { untilMs, kind: "leave", name: decision.name.slice("node-".length) };
    return decision;
  }

  observation(): Observation {
    const busyPermille = Math.min(1_000, Math.round((1_000 * this.load(this.seconds)) / this.names.length));
    const members = this.names.map((name) => {
      const plain = member(name, { busyPermille });
      return { ...plain, ...this.each(plain) };
    });
    return {
      atMs: this.atMs,
      ringVersion: this.names.length,
      members,
      replicas: { default: 3, dcs: {} },
      pending: this.#change === null ? [] : [{ kind: this.#change.kind, name: `node-${this.#change.name}` }],
      leavers: members.map(({ id }) => id).reverse(),
      underWay: null,
      ...this.differences,
    };
  }
}
