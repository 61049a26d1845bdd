/** What the keyspace should hold: versions of each key in plain Maps, expiry by the wall clock. Records are immutable. */

import type { Actor, Dot } from "../../lib/causality/actor.js";

/** For each actor the last sequence that a record has held: what a context that is read from it covers. */
export type Seen = ReadonlyMap<Actor, number>;

export interface ModelVersion {
  /** Rises with every version ever minted. */
  readonly id: number;
  readonly dot: Dot;
  /** What its record had seen when it was minted, itself included. */
  readonly seen: Seen;
  /** Unique among all versions. Null for a tombstone. */
  readonly value: string | null;
  readonly expiryMs: number;
}

/** What a version holds. */
export type ModelValue = Pick<ModelVersion, "value" | "expiryMs">;

/** Newest first, at least one. The newest is the one minted last, so what it had seen is what the record has seen. */
export type ModelRecord = readonly ModelVersion[];

export class KeyspaceModel {
  records = new Map<string, ModelRecord>();
  #committed = new Map<string, ModelRecord>();
  /** The state after each batch since the start, oldest first. */
  history: ReadonlyMap<string, ModelRecord>[] = [];
  #lastId = 0;

  get lastId(): number {
    return this.#lastId;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  commit(): void {
    this.#committed = new Map(this.records);
    this.history.push(this.#committed);
  }

  /** Takes back what was not committed; returns the data keys that it touched. */
  undo(): readonly string[] {
    const before = this.records;
    this.records = new Map(this.#committed);
    const keys = new Set([...before.keys(), ...this.records.keys()]);
    return [...keys].filter((key) => before.get(key) !== this.records.get(key));
  }

  /** Goes on with one of the states in `history`. */
  restartWith(state: ReadonlyMap<string, ModelRecord>): void {
    this.records = new Map(state);
    this.#committed = new Map(state);
    this.history = [this.#committed];
  }
}

export function isLiveVersion(version: ModelValue, nowMs: number): boolean {
  return version.value !== null && (version.expiryMs === 0 || version.expiryMs > nowMs);
}

/** A context may outlive the removal of its record, which forgets: each of the two may have seen what the other has not. */
export function joined(...parts: readonly Seen[]): Seen {
  const all = new Map<Actor, number>();
  for (const [actor, sequence] of parts.flatMap((part) => [...part])) all.set(actor, Math.max(sequence, all.get(actor) ?? 0));
  return all;
}

/** What GET answers. */
export function liveEntry(record: ModelRecord | undefined, nowMs: number): ModelVersion | null {
  const newest = record?.[0];
  return newest !== undefined && isLiveVersion(newest, nowMs) ? newest : null;
}

export function isDead(record: readonly ModelValue[], nowMs: number): boolean {
  return !record.some((version) => isLiveVersion(version, nowMs));
}

/** A record for messages and comparison. */
export function textOf(record: readonly ModelValue[] | undefined): string {
  if (record === undefined) return "nothing";
  return record.map(({ value, expiryMs }) => `${value ?? "tombstone"}@${expiryMs}`).join(" ");
}
