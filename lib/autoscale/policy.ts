/**
 * Whether a cluster is to have one member more, one fewer, or stay as it is. Pure: looks at the ring come in with their times, a
 * decision with its reason comes out; who acts on it says so, and a later look shows what came of it.
 *
 * INVARIANT: nothing is begun before all that is known of is done, nor by guess: while a change is pending, a member is not up,
 * a load is not known, or what was asked for has not come, it stays. One look after a start knows as much as a long run, save
 * for how long a load has lasted, which is then waited for anew.
 */
import { assert } from "../assert.js";
import {
  type Aspect,
  growthWithout,
  hostObjection,
  type Observation,
  type ObservedMember,
  type Sample,
  sampleOf,
  type Targets,
  untold,
} from "./observation.js";

export interface ScaleSettings {
  /** Members: `min` at least 1, `max` at least `min`. */
  readonly min: number;
  readonly max: number;
  /** At least one of them is looked at. */
  readonly targets: Targets;
  /** Shares of a target: above `highMark` there is too much to do, below `lowMark`, with one fewer, so little that one is spare. */
  readonly highMark: number;
  readonly lowMark: number;
  /** How long it has to last. */
  readonly growAfterMs: number;
  readonly shrinkAfterMs: number;
  /** How long after a change of the ring nothing is begun. */
  readonly growPauseMs: number;
  readonly shrinkPauseMs: number;
  /** From then on a change that has not ended is told of as overdue. */
  readonly changeMsMax: number;
  /** A load that is older is not known; a longer time without a look begins the wait anew. */
  readonly staleMs: number;
}

/** What keeps it as it is: for those who tell of a thing once. */
export type StayTopic =
  | "acting"
  | "pending"
  | "awaiting"
  | "overdue"
  | "not up"
  | "unknown"
  | "failed"
  | "over, at most"
  | "over, too soon"
  | "over, pausing"
  | "one is hot"
  | "quiet, at least"
  | "quiet, pausing"
  | "quiet, hosts"
  | "within";

export type Decision =
  | { readonly kind: "stay"; readonly topic: StayTopic; readonly reason: string }
  | { readonly kind: "grow"; readonly to: number; readonly reason: string }
  | {
      readonly kind: "shrink";
      readonly to: number;
      readonly memberId: string;
      readonly name: string;
      /** It may go as long as the ring has this version. */
      readonly ringVersion: number;
      readonly reason: string;
    };

/**
 * Of the looks within the time for which a load has to last, so many have to show it. That there is too much to do, all: they are
 * few. That there is little, nine in ten, and none may show what one fewer could not carry.
 */
const OVER_SHARE = 1;
const QUIET_SHARE = 0.9;

interface Awaited {
  readonly to: number;
  readonly sinceMs: number;
}

export class ScalePolicy {
  readonly #settings: ScaleSettings;
  /** Ascending by time, of the ring as it is now. */
  #samples: Sample[] = [];
  /** Ids of the members at the last look; null before the first. */
  #memberIds: string | null = null;
  /** When members last came or went: before that was seen, when it was first looked. */
  #changedMs = 0;
  #hasSeenChange = false;
  #lastMs = 0;
  #awaited: Awaited | null = null;
  #failure: { readonly atMs: number; readonly why: string } | null = null;

  constructor(settings: ScaleSettings) {
    const { min, max, targets, highMark, lowMark } = settings;
    assert(min >= 1 && max >= min, "scale policy: bounds in order");
    assert(
      Object.values(targets).some((target) => target !== null),
      "scale policy: something to look at",
    );
    assert(lowMark < highMark, "scale policy: the low mark below the high one");
    this.#settings = settings;
  }

  /** The newest look, once one was made of a ring at rest. */
  get sample(): Sample | null {
    return this.#samples.at(-1) ?? null;
  }

  decide(observation: Observation): Decision {
    this.#note(observation);
    const obstacle = this.#obstacle(observation);
    if (obstacle !== null) {
      // What was measured meanwhile says little about the ring at rest.
      this.#samples = [];
      return obstacle;
    }
    const { members, atMs } = observation;
    const { min, max, targets } = this.#settings;
    this.#samples.push(sampleOf(observation, targets));
    if (this.#failure !== null) {
      const leftMs = this.#failure.atMs + this.#settings.growPauseMs - atMs;
      if (leftMs > 0) {
        return stay("failed", `the last attempt failed (${this.#failure.why}): the next in ${seconds(leftMs)} at the earliest`);
      }
    }
    if (members.length < min) {
      return { kind: "grow", to: members.length + 1, reason: `${members.length} members, at least ${min} are to be there` };
    }
    if (this.#isOver(atMs)) return members.length >= max ? this.#stayAtMost(max) : this.#grow(observation);
    return this.#shrink(observation) ?? this.#calm(observation);
  }

  /** The provider was asked for so many members. */
  noteBegun(to: number, atMs: number): void {
    this.#awaited = { to, sinceMs: atMs };
    this.#failure = null;
  }

  /** It could not do it, or will not: nothing is waited for. */
  noteFailed(why: string, atMs: number): void {
    this.#awaited = null;
    this.#failure = { atMs, why };
  }

  /** Takes in who is there. */
  #note({ members, pending, atMs }: Observation): void {
    const ids = members
      .map(({ id }) => id)
      .sort()
      .join();
    if (ids !== this.#memberIds) {
      this.#hasSeenChange = this.#memberIds !== null;
      this.#memberIds = ids;
      this.#changedMs = atMs;
      this.#samples = [];
    }
    if (atMs - this.#lastMs > this.#settings.staleMs) this.#samples = [];
    this.#lastMs = atMs;
    const { growAfterMs, shrinkAfterMs } = this.#settings;
    const keptMs = Math.max(growAfterMs, shrinkAfterMs);
    // One that is older than is asked for shows that the time is covered.
    while (this.#samples.length > 1 && this.#samples[1]!.atMs <= atMs - keptMs) this.#samples.shift();
    if (members.length === this.#awaited?.to && pending.length === 0 && members.every(({ state }) => state === "up")) {
      this.#awaited = null;
    }
  }

  #obstacle({ members, pending, underWay, atMs }: Observation): Decision | null {
    const { targets, staleMs, changeMsMax } = this.#settings;
    const awaited = this.#awaited;
    if (awaited !== null && atMs - awaited.sinceMs >= changeMsMax) {
      const asked = `${plural(awaited.to)} were asked for ${seconds(atMs - awaited.sinceMs)} ago, and that has not ended`;
      return stay("overdue", `${asked}${pendingText(pending)}: nothing else is begun until it has`);
    }
    if (underWay !== null) return stay("acting", underWay);
    if (pending.length > 0) return stay("pending", `a change of the ring is under way${pendingText(pending)}`);
    if (awaited !== null) {
      return stay("awaiting", `waiting until there are ${plural(awaited.to)} (${seconds(atMs - awaited.sinceMs)})`);
    }
    for (const { name, state } of members) if (state !== "up") return stay("not up", notUp(name, state));
    const unknown = members.length === 0 ? "the ring has no members" : untold(members, targets, { staleMs });
    return unknown === null ? null : stay("unknown", unknown);
  }

  #isOver(atMs: number): boolean {
    const { highMark, growAfterMs } = this.#settings;
    return this.sample!.pressure > highMark && this.#lasts(atMs, growAfterMs, OVER_SHARE, (at) => at.pressure > highMark);
  }

  #stayAtMost(max: number): Decision {
    return stay("over, at most", `${this.#loadText()}: too much, but ${max} members are the most there may be`);
  }

  #grow({ members, atMs }: Observation): Decision {
    const { growPauseMs, growAfterMs } = this.#settings;
    const leftMs = this.#hasSeenChange ? this.#changedMs + growPauseMs - atMs : 0;
    if (leftMs > 0)
      return stay("over, pausing", `${this.#loadText()}: the last change was a moment ago, ${seconds(leftMs)} to go`);
    const reason = `${this.#loadText()}, too much for ${seconds(growAfterMs)}`;
    return { kind: "grow", to: members.length + 1, reason };
  }

  /** Null where all are needed. */
  #shrink(observation: Observation): Decision | null {
    const { members, leavers, atMs, ringVersion } = observation;
    const { min, shrinkPauseMs, shrinkAfterMs, lowMark, highMark } = this.#settings;
    const candidates = leavers.flatMap((leaver) => members.find(({ id }) => id === leaver) ?? []);
    const isSpare = (leaver: ObservedMember): boolean => {
      const growth = growthWithout(members, leaver);
      if (!Number.isFinite(growth) || this.#samples.some(({ pressure }) => pressure * growth > highMark)) return false;
      return this.#lasts(atMs, shrinkAfterMs, QUIET_SHARE, ({ pressure }) => pressure * growth < lowMark);
    };
    const spare = candidates.filter(isSpare);
    if (spare.length === 0) return null;
    if (members.length <= min)
      return stay("quiet, at least", `${this.#loadText()}: quiet, but at least ${min} members are to be there`);
    const objections = spare.map((leaver) => hostObjection(observation, leaver));
    const at = objections.indexOf(null);
    if (at < 0) return stay("quiet, hosts", `quiet, but ${objections[0]}`);
    const leftMs = this.#changedMs + shrinkPauseMs - atMs;
    if (leftMs > 0) return stay("quiet, pausing", `${this.#loadText()}: one may go in ${seconds(leftMs)} if it stays quiet`);
    const { id, name } = spare[at]!;
    const after = percent(this.sample!.pressure * growthWithout(members, spare[at]!));
    const reason = `${this.#loadText()} for ${seconds(shrinkAfterMs)}; without ${name} it is ${after} of the target`;
    return { kind: "shrink", to: members.length - 1, memberId: id, name, ringVersion, reason };
  }

  /** Nothing is to be done; why, as precisely as it can be said. */
  #calm({ members, atMs }: Observation): Decision {
    const { highMark, growAfterMs } = this.#settings;
    const { pressure, hottest } = this.sample!;
    if (pressure > highMark) {
      return stay("over, too soon", `${this.#loadText()}: too much, if it lasts for ${seconds(growAfterMs)}`);
    }
    const isHot = ({ hottest: one }: Sample): boolean => one !== null && one.pressure > highMark;
    if (members.length > 1 && this.#lasts(atMs, growAfterMs, OVER_SHARE, isHot)) {
      const text = `${hottest!.name} alone is at ${percent(hottest!.pressure)} of the target, all together at ${percent(pressure)}`;
      return stay("one is hot", `${text}: spread its clients or keys, another member would take little from it`);
    }
    return stay("within", this.#loadText());
  }

  /** Looks cover the time, and a share of them is so. */
  #lasts(atMs: number, forMs: number, share: number, is: (sample: Sample) => boolean): boolean {
    if (this.#samples[0]!.atMs > atMs - forMs) return false;
    const within = this.#samples.filter((sample) => sample.atMs >= atMs - forMs);
    return within.filter(is).length >= share * within.length;
  }

  #loadText(): string {
    return loadText(this.sample!, this.#settings.targets);
  }
}

/** `busy 42% of 60%`, of what is nearest to its target. */
export function loadText({ pressures, aspect }: Sample, targets: Targets): string {
  return aspectText(aspect, pressures[aspect]!, targets[aspect]!);
}

export function aspectText(aspect: Aspect, pressure: number, target: number): string {
  if (aspect === "requests") return `${Math.round(pressure * target)} of ${target} requests a second`;
  return `${aspect} ${percent(pressure * target)} of ${percent(target)}`;
}

function stay(topic: StayTopic, reason: string): Decision {
  return { kind: "stay", topic, reason };
}

function notUp(name: string, state: ObservedMember["state"]): string {
  switch (state) {
    case "down":
      return `${name} is down: start it again, or remove or replace it`;
    case "suspect":
      return `${name} has not been heard of for a while`;
    default:
      return `${name} is ${state}`;
  }
}

function pendingText(pending: Observation["pending"]): string {
  return pending.length === 0 ? "" : ` (${pending.map(({ kind, name }) => `${kind} of ${name}`).join(", ")})`;
}

function plural(members: number): string {
  return members === 1 ? "1 member" : `${members} members`;
}

function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

function seconds(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms / 1_000));
  return whole < 120 ? `${whole} s` : `${Math.round(whole / 60)} min`;
}
