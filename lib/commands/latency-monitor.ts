/** LATENCY's events: for each kind of event its spikes above `latency-monitor-threshold`, one a second, bounded. */

/** Spikes kept of each event, as Redis does. */
const SAMPLES_MAX = 160;

export interface LatencySpike {
  readonly atSeconds: number;
  readonly latencyMs: number;
}

export interface LatencyEvent {
  readonly name: string;
  readonly spikes: readonly LatencySpike[];
  /** The worst since the event was reset. */
  readonly worstMs: number;
}

export class LatencyMonitor {
  readonly #events = new Map<string, { name: string; spikes: LatencySpike[]; worstMs: number }>();

  /** Notes a spike; the caller has compared it with the threshold. Within one second only the worst is kept. */
  add(event: string, spike: LatencySpike): void {
    let known = this.#events.get(event);
    if (known === undefined) this.#events.set(event, (known = { name: event, spikes: [], worstMs: 0 }));
    known.worstMs = Math.max(known.worstMs, spike.latencyMs);
    const last = known.spikes.at(-1);
    if (last !== undefined && last.atSeconds === spike.atSeconds) {
      if (spike.latencyMs > last.latencyMs) known.spikes[known.spikes.length - 1] = spike;
      return;
    }
    known.spikes.push(spike);
    if (known.spikes.length > SAMPLES_MAX) known.spikes.shift();
  }

  events(): readonly LatencyEvent[] {
    return [...this.#events.values()];
  }

  spikesOf(event: string): readonly LatencySpike[] {
    return this.#events.get(event)?.spikes ?? [];
  }

  /** Forgets the named events, or all; returns how many there were. */
  reset(events: readonly string[] | "all"): number {
    const names = events === "all" ? [...this.#events.keys()] : events;
    return names.filter((name) => this.#events.delete(name)).length;
  }
}
