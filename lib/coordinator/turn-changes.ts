/**
 * Changes of records in the turn of their keys: one synchronous step looks, decides and stores. The turns end with the step,
 * but for keys that are written elsewhere: what comes behind for those finds the write made.
 */
import { type Clock, pause } from "../host/clock.js";
import type { KeyQueues } from "../replica/key-queues.js";
import type { Records, Replica } from "../replica/replica.js";
import type { BeginLimit } from "./begin-limit.js";
import type { Deadline } from "./deadline.js";
import { KeyHold } from "./key-hold.js";
import type { Hold, Scope } from "./keyspace.js";

/** A change of records in their keys' turn. */
export interface ChangeInTurn {
  /** Awaited in the keys' turn, before the records are looked at. */
  readonly prepare?: () => Promise<void>;
  /** Looks, decides and stores, synchronously. */
  readonly step: (records: Records) => void;
  readonly elsewhere?: WritesElsewhere;
  /** Default: `request-timeout` from now. */
  readonly deadline?: Deadline;
}

/** What a step decided to write of keys that others keep. */
export interface WritesElsewhere {
  /** Each keeps its turn until it is written. */
  readonly dataKeys: ReadonlySet<string>;
  /** Called once for each of the keys, when the step is committed; in a scope with this hold it does not wait for itself. */
  readonly write: (dataKey: string, hold: Hold) => Promise<void>;
}

export interface TurnChangesOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly deadline: (scope: Scope | undefined) => Deadline;
  readonly queuesOf: (scope: Scope, dataKey: string) => KeyQueues;
}

/** While writers outrun the disk each waiting write waits this much longer. */
const SLOWED_MS = 1;
/** So many steps are made one after the other before others are heard. */
const TURN_STEPS_MAX = 64;

export class TurnChanges {
  readonly #options: TurnChangesOptions;
  #stepsOfTurn = 0;

  constructor(options: TurnChangesOptions) {
    this.#options = options;
  }

  /** Runs one synchronous step in the turn of all these keys, with their records at hand. */
  async change(scopes: readonly Scope[], dataKeys: readonly string[], change: ChangeInTurn): Promise<void> {
    const { replica, deadline: deadlineOf, queuesOf } = this.#options;
    const hold = new KeyHold(replica.queues.waitingMax);
    try {
      for (const [at, dataKey] of dataKeys.entries()) hold.turns.take(queuesOf(scopes[at]!, dataKey), dataKey);
    } catch (error) {
      hold.release();
      throw error;
    }
    const deadline = change.deadline ?? deadlineOf(scopes[0]);
    const begin = scopes[0]?.forwarded?.begin;
    await deadline.bound(this.#stepInTurn(hold, dataKeys, { deadline, begin }, change).finally(() => hold.release()));
  }

  /** Runs one synchronous step when it is the keys' turn, there is room, and their records are at hand. */
  async #stepInTurn(
    hold: KeyHold,
    dataKeys: readonly string[],
    { deadline, begin }: { readonly deadline: Deadline; readonly begin: BeginLimit | undefined },
    { prepare, step, elsewhere }: ChangeInTurn,
  ): Promise<void> {
    const { replica } = this.#options;
    const { turns } = hold;
    await turns.ready();
    await this.#waitForRoom();
    await prepare?.();
    const fetched: Records = new Map();
    let records = replica.gather(dataKeys, fetched);
    for (; records === null; records = replica.gather(dataKeys, fetched)) await replica.fetch(dataKeys, fetched);
    // The client has been told by now that nothing was changed: a late write must not take effect as if it were new.
    if (deadline.isPast) throw deadline.error();
    begin?.require();
    replica.reserve(dataKeys.length);
    step(records);
    deadline.meet();
    // Whoever is next for the keys decides in this very turn, too, unless it has become long.
    if (++this.#stepsOfTurn < TURN_STEPS_MAX) turns.releaseBut(elsewhere?.dataKeys);
    // The answer leaves in a later turn, whose commit says nothing about this one's.
    await replica.committed();
    this.#stepsOfTurn = 0;
    if (elsewhere !== undefined) await writeElsewhere(hold, elsewhere);
  }

  async #waitForRoom(): Promise<void> {
    const { replica, clock } = this.#options;
    const backlog = replica.backlog();
    if (backlog === "slow") await pause(clock, SLOWED_MS);
    if (backlog === "stopped") await replica.room();
  }
}

/**
 * The turn of each key ends when that one is written: this node may be who writes it for another member, which holds the turn
 * of the next. All are waited for, also when one fails.
 */
async function writeElsewhere(hold: KeyHold, { dataKeys, write }: WritesElsewhere): Promise<void> {
  hold.turns.releaseBut(dataKeys);
  const writes = [...dataKeys].map((dataKey) => write(dataKey, hold).finally(() => hold.turns.releaseOne(dataKey)));
  await Promise.allSettled(writes);
  await Promise.all(writes);
}
