/**
 * Turns of several keys at once. They are all asked for at one instant, before anything is awaited, so that two operations
 * that want the same keys never wait for each other crosswise.
 */
import { background } from "../background.js";
import { KeyQueues } from "../replica/key-queues.js";
import type { Deadline } from "./deadline.js";
import type { Hold } from "./keyspace.js";

/** The turns that one operation needs. */
export class Turns {
  readonly dataKeys = new Set<string>();
  readonly #ready: Promise<void>[] = [];
  /** By key: of those that are still held. */
  readonly #releases = new Map<string, () => void>();

  /** Asks for the turn of a key; once for each key. Throws BUSY: `release` then gives back what was taken. */
  take(queues: KeyQueues, dataKey: string): void {
    if (this.dataKeys.has(dataKey)) return;
    const turn = queues.take(dataKey);
    this.dataKeys.add(dataKey);
    this.#ready.push(turn.ready);
    this.#releases.set(dataKey, turn.release);
  }

  /** Resolves when it is this operation's turn for every key. */
  async ready(): Promise<void> {
    await Promise.all(this.#ready);
  }

  /** Idempotent, as the two others. */
  release(): void {
    this.releaseBut(undefined);
  }

  /** Keeps the turns of `kept`. */
  releaseBut(kept: ReadonlySet<string> | undefined): void {
    for (const dataKey of this.#releases.keys()) if (kept === undefined || !kept.has(dataKey)) this.releaseOne(dataKey);
  }

  releaseOne(dataKey: string): void {
    const release = this.#releases.get(dataKey);
    this.#releases.delete(dataKey);
    release?.();
  }
}

/** What EXEC holds. Its own operations on one key still take turns among themselves, in `queues`. */
export class KeyHold implements Hold {
  readonly turns = new Turns();
  readonly queues: KeyQueues;
  #leave: (() => void) | null = null;

  constructor(waitingMax: number) {
    this.queues = new KeyQueues(waitingMax);
  }

  /** `leave` is called when it is released. */
  begin(leave: () => void): void {
    this.#leave = leave;
  }

  get dataKeys(): ReadonlySet<string> {
    return this.turns.dataKeys;
  }

  release(): void {
    this.turns.release();
    this.#leave?.();
    this.#leave = null;
  }
}

/**
 * Lets a step that concerns all keys come between holds, not into one. INVARIANT: while such a step waits, no hold begins,
 * so that it is done as soon as those that are under way have ended.
 */
export class HoldGate {
  #active = 0;
  /** Works that no hold may begin before the end of. */
  #working = 0;
  #steps: (() => void)[] = [];
  #entering: (() => void)[] = [];

  /** Resolves when a hold may begin; `leave` must follow. */
  async enter(): Promise<void> {
    if (this.#steps.length > 0 || this.#working > 0) await new Promise<void>((resolve) => this.#entering.push(resolve));
    else this.#active++;
  }

  leave(): void {
    this.#active--;
    if (this.#active > 0) return;
    for (const run of this.#steps.splice(0)) run();
    this.#admit();
  }

  #admit(): void {
    if (this.#working > 0) return;
    const entering = this.#entering.splice(0);
    this.#active += entering.length;
    for (const resolve of entering) resolve();
  }

  /** Runs `work` when there is no hold; none begins until it has ended. Settles with it. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    await this.between(() => {
      this.#working++;
    });
    try {
      return await work();
    } finally {
      this.#working--;
      this.#admit();
    }
  }

  /** Runs `step` when there is no hold, at once if there is none now. Settles with it. */
  between(step: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const run = (): void => {
        try {
          resolve(step());
        } catch (error) {
          reject(error);
        }
      };
      if (this.#active === 0) run();
      else this.#steps.push(run);
    });
  }
}

/**
 * Has `take` ask for the turns that `hold` is to have, and lets nothing that concerns all keys come between what they are held
 * for. Rejects with BUSY, or with what `deadline` says once that is past.
 */
export async function takeHold(
  hold: KeyHold,
  { take, gate, deadline }: { readonly take: () => void; readonly gate: HoldGate; readonly deadline: Deadline },
): Promise<KeyHold> {
  try {
    take();
  } catch (error) {
    hold.release();
    throw error;
  }
  const entered = hold.turns.ready().then(() => gate.enter());
  try {
    await deadline.bound(entered);
  } catch (error) {
    hold.release();
    background(entered.then(() => gate.leave()));
    throw error;
  }
  hold.begin(() => gate.leave());
  return hold;
}
