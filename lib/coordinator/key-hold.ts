/**
 * Turns of several keys at once. They are all asked for at one instant, before anything is awaited, so that two operations
 * that want the same keys never wait for each other crosswise.
 */
import { KeyQueues } from "../replica/key-queues.js";
import type { Hold } from "./keyspace.js";

/** The turns that one operation needs. */
export class Turns {
  readonly dataKeys = new Set<string>();
  readonly #ready: Promise<void>[] = [];
  #releases: (() => void)[] = [];

  /** Asks for the turn of a key; once for each key. Throws BUSY: `release` then gives back what was taken. */
  take(queues: KeyQueues, dataKey: string): void {
    if (this.dataKeys.has(dataKey)) return;
    const turn = queues.take(dataKey);
    this.dataKeys.add(dataKey);
    this.#ready.push(turn.ready);
    this.#releases.push(turn.release);
  }

  /** Resolves when it is this operation's turn for every key. */
  async ready(): Promise<void> {
    await Promise.all(this.#ready);
  }

  /** Idempotent. */
  release(): void {
    const releases = this.#releases;
    this.#releases = [];
    for (const release of releases) release();
  }
}

/** What EXEC holds. Its own operations on one key still take turns among themselves, in `queues`. */
export class KeyHold implements Hold {
  readonly turns = new Turns();
  readonly queues: KeyQueues;

  constructor(waitingMax: number) {
    this.queues = new KeyQueues(waitingMax);
  }

  get dataKeys(): ReadonlySet<string> {
    return this.turns.dataKeys;
  }

  release(): void {
    this.turns.release();
  }
}
