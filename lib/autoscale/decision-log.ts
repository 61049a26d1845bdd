/** What a supervisor tells, a line each: all of it for machines, what changed for people. Pure but for what was said last. */
import type { Aspect, Sample, Targets } from "./observation.js";
import { aspectText } from "./policy.js";
import type { ScaleEvent } from "./supervisor.js";

/** What has not changed is said again after this time. */
const AGAIN_MS = 60_000;

export class DecisionLog {
  readonly #targets: Targets;
  readonly #format: "lines" | "json";
  readonly #output: (text: string) => void;
  #said = "";
  #saidMs = Number.NEGATIVE_INFINITY;

  constructor(options: { targets: Targets; format: "lines" | "json"; output: (text: string) => void }) {
    this.#targets = options.targets;
    this.#format = options.format;
    this.#output = options.output;
  }

  /** `wallMs`: Unix time. */
  note(event: ScaleEvent, wallMs: number): void {
    if (this.#format === "json") return this.#output(`${JSON.stringify(jsonOf(event, wallMs))}\n`);
    const gist = gistOf(event);
    if (gist === this.#said && wallMs - this.#saidMs < AGAIN_MS) return;
    this.#said = gist;
    this.#saidMs = wallMs;
    this.#output(`${new Date(wallMs).toISOString().slice(11, 19)}  ${this.#textOf(event)}\n`);
  }

  #textOf(event: ScaleEvent): string {
    if (event.kind === "blind") return `nothing is begun: ${event.reason}`;
    if (event.kind === "failed") return `FAILED   ${event.what}: ${event.reason}`;
    const { decision, status, sample } = event;
    const members = `${status.members.length} members`;
    switch (decision.kind) {
      case "grow":
        return `${members}  GROW to ${decision.to}: ${decision.reason}`;
      case "shrink":
        return `${members}  SHRINK to ${decision.to}: ${decision.reason}`;
      default:
        return `${members}  stay: ${decision.reason}${decision.topic === "within" && sample !== null ? this.#others(sample) : ""}`;
    }
  }

  /** The loads beside that which the reason names. */
  #others({ pressures, aspect }: Sample): string {
    const others = (Object.entries(pressures) as [Aspect, number][]).filter(([other]) => other !== aspect);
    return others.map(([other, pressure]) => `, ${aspectText(other, pressure, this.#targets[other]!)}`).join("");
  }
}

function gistOf(event: ScaleEvent): string {
  if (event.kind !== "decision") return `${event.kind} ${event.reason}`;
  const { decision, status } = event;
  const names = status.members.map(({ name, state }) => `${name} ${state}`).join();
  return decision.kind === "stay" ? `stay ${decision.topic} ${names}` : `${decision.kind} ${decision.to} ${names}`;
}

function jsonOf(event: ScaleEvent, wallMs: number): object {
  if (event.kind !== "decision") return { atMs: wallMs, ...event };
  const { decision, status, sample } = event;
  const members = status.members.map(({ name, state, requestsPerSecond, busyPermille, storedBytes, diskFreeBytes }) => {
    return { name, state, requestsPerSecond, busyPermille, storedBytes, diskFreeBytes };
  });
  return { atMs: wallMs, ...decision, pressures: sample?.pressures ?? null, ringVersion: status.ringVersion, members };
}
