/**
 * Follows what the store tells, operation by operation: values are unique, so each change is known for the operation that
 * made it, must come in the order in which the key's operations were called, and must leave exactly the model's record.
 */
import { type Actor, type Dot, readableDot } from "../../lib/causality/actor.js";
import type { Record as StoredRecord } from "../../lib/causality/record.js";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import type { Entry, Scope } from "../../lib/coordinator/keyspace.js";
import { OperatingError } from "../../lib/errors.js";
import { DataKeys } from "../../lib/replica/data-key.js";
import { SimRandom } from "../sim/sim-random.js";
import type { StoreEvents } from "./cold-store.js";
import { isDead, joined, KeyspaceModel, liveEntry, type ModelRecord, type Seen, textOf } from "./keyspace-model.js";
import {
  type Code,
  holdOf,
  isCode,
  isDone,
  type Minting,
  type ModelEvent,
  nameOf,
  type Operation,
  orCode,
  type Reading,
  type Removal,
  remaining,
  SETTINGS,
  type Target,
  type Token,
  type Walk,
} from "./operation.js";
import { bytes, NAMES, type World } from "./world.js";

const NOTHING_SEEN: Seen = new Map();

export class Journal implements StoreEvents {
  readonly counts: Record<ModelEvent, number> = {
    applied: 0,
    removed: 0,
    reaped: 0,
    refusedBatches: 0,
    timeouts: 0,
    busy: 0,
    conflicts: 0,
    siblings: 0,
    limits: 0,
    waited: 0,
    holds: 0,
    flushes: 0,
    walks: 0,
    jumps: 0,
    stops: 0,
    crashes: 0,
    lost: 0,
    refusals: 0,
  };
  protected readonly seed: number;
  protected readonly random: SimRandom;
  protected readonly model = new KeyspaceModel();
  protected readonly targets: readonly Target[];
  protected readonly byDataKey: ReadonlyMap<string, Target>;
  protected readonly applied = new Set<string>();
  /** Keys that had siblings some time. */
  protected readonly withSiblings = new Set<string>();
  /** The last sequence that each actor gave out. */
  protected readonly given = new Map<Actor, number>();
  protected readonly mintings = new Map<string, Minting>();
  protected readonly queuedMax: number;
  protected lanes = new Map<string, Operation[]>();
  protected readings = new Set<Reading>();
  protected walks = new Set<Walk>();
  protected tokens: Token[] = [];
  protected underway = new Set<Promise<void>>();
  /** The databases of FLUSHDBs under way. */
  protected readonly flushes: number[] = [];
  /** The first thing that went wrong where it could not be thrown. */
  protected failure: Error | null = null;
  /** The removal that `decide` has just asked for. */
  protected removing: Removal[] = [];
  protected values = 0;
  protected world!: World;

  constructor(seed: number) {
    this.seed = seed;
    this.random = new SimRandom(seed);
    const random = this.random;
    this.queuedMax = random.pick([6, 1_000]);
    const keys = new DataKeys();
    const names = Array.from({ length: random.pick([2, 4, 12]) }, (_, at) => random.pick([`{s}${at}`, `k${at}`]));
    this.targets = names.flatMap((key) =>
      [0, 1, 15].map((database) => ({ database, key, dataKey: keys.of(database, bytes(key)) })),
    );
    this.byDataKey = new Map(this.targets.map((target) => [target.dataKey, target]));
  }

  // What the store tells.

  onPut(key: string, stored: Uint8Array, start: number, end: number): void {
    const target = this.byDataKey.get(key);
    if (target !== undefined) this.guard(() => this.stored(target, decodeRecord(Buffer.from(stored.subarray(start, end)))));
  }

  onRemove(key: string): void {
    const target = this.byDataKey.get(key);
    if (target !== undefined) this.guard(() => this.removed(target));
  }

  onClear(): void {
    for (const { dataKey } of this.targets) this.set(dataKey, undefined);
  }

  onBatch(outcome: "committed" | "refused"): void {
    if (outcome === "committed") this.model.commit();
    else {
      this.counts.refusedBatches++;
      for (const dataKey of this.model.undo()) this.noteChange(dataKey);
    }
  }

  protected guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.failure ??= error as Error;
    }
  }

  protected stored(target: Target, record: StoredRecord): void {
    const old = this.model.records.get(target.dataKey);
    const newest = record.versions[0]!;
    const { dot } = newest;
    const removal = newest.value === null ? this.takeRemoval(target.dataKey) : null;
    const seen = joined(old === undefined ? NOTHING_SEEN : old[0]!.seen, new Map([[dot.actor, dot.sequence]]));
    const fresh = { id: this.model.nextId(), dot, seen };
    let expected: ModelRecord;
    if (removal !== null) {
      // A removal among siblings is a tombstone over the newest.
      this.inOrder(removal.operation, target);
      expected = [{ ...fresh, value: null, expiryMs: 0 }, ...old!.slice(1)];
    } else {
      const value = Buffer.from(newest.value ?? []).toString("latin1");
      const minting = this.mintings.get(value);
      if (minting === undefined) throw new Error(`a value that nobody put: ${value}`);
      this.inOrder(minting.operation, target);
      const { covers, expiryMs } = minting;
      const seenByClient = typeof covers === "string" ? NOTHING_SEEN : covers.seen;
      expected = [{ ...fresh, seen: joined(seen, seenByClient), value, expiryMs }, ...remaining(old ?? [], covers)];
      this.counts.applied++;
      this.applied.add(value);
    }
    if (expected.length > 1) {
      this.counts.siblings++;
      this.withSiblings.add(target.dataKey);
    }
    this.compare(target, record, expected);
    if (dot.sequence <= (this.given.get(dot.actor) ?? 0)) throw new Error(`a dot was given again: ${readableDot(dot, NAMES)}`);
    this.given.set(dot.actor, dot.sequence);
    this.set(target.dataKey, expected);
  }

  protected removed(target: Target): void {
    const removal = this.takeRemoval(target.dataKey);
    const old = this.model.records.get(target.dataKey);
    if (old === undefined) throw new Error(`${nameOf(target)} was removed, but there was nothing`);
    const first = this.lane(target).find((operation) => operation.isRemoval && !isDone(operation));
    if (removal !== null) {
      this.inOrder(removal.operation, target);
      const left = old.slice(1);
      if (left.length > 0 && !isDead(left, this.world.clock.wallMs())) throw new Error(`${nameOf(target)} lost its siblings`);
    } else if (isDead(old, this.world.clock.wallMs())) this.counts.reaped++;
    else if (this.world.replica.minting !== null) {
      if (!this.isExpiredMinting(target, old, this.world.replica.minting))
        throw new Error(`${nameOf(target)} lost ${textOf(old)} to a version that is live`);
      this.counts.reaped++;
    } else if (this.flushes.includes(target.database) && isOfFlush()) {
      // Removed by a FLUSHDB under way, which takes its turn for each key like everybody else.
    } else if (first !== undefined) {
      this.inOrder(first, target);
      first.hasRemoved = liveEntry(old, this.world.clock.wallMs()) !== null;
    } else throw new Error(`${nameOf(target)} was removed, but it was live: ${textOf(old)}`);
    this.counts.removed++;
    this.set(target.dataKey, undefined);
  }

  /** A version that has expired when it is stored, and all that is left of the record with it: nothing is stored. */
  protected isExpiredMinting(target: Target, old: ModelRecord, value: string): boolean {
    const minting = this.mintings.get(value);
    if (minting === undefined || this.applied.has(value)) return false;
    const { operation, covers, expiryMs } = minting;
    if (!isDead([{ value, expiryMs }, ...remaining(old, covers)], this.world.clock.wallMs())) return false;
    this.applied.add(value);
    this.inOrder(operation, target);
    return true;
  }

  /** What `decide` asks for happens in the same step. */
  protected expectRemoval(removal: Removal): void {
    this.removing.push(removal);
    queueMicrotask(() => {
      this.removing = [];
    });
  }

  protected takeRemoval(dataKey: string): Removal | null {
    const at = this.removing.findIndex((removal) => removal.dataKey === dataKey);
    return at < 0 ? null : this.removing.splice(at, 1)[0]!;
  }

  /** An operation takes effect: all earlier ones on the key must be over. */
  protected inOrder(operation: Operation, target: Target): void {
    if (operation.isDropped) throw new Error(`${operation.name} took effect on ${nameOf(target)} after it was refused`);
    if (operation.isPassed)
      throw new Error(`${operation.name} took effect on ${nameOf(target)} after one that was called later`);
    let isEarlier = true;
    for (const other of this.lane(target)) {
      if (other === operation) isEarlier = false;
      else if (this.held(other, operation)) continue;
      else if (other.isHolding && !other.isOver)
        throw new Error(`${operation.name} took effect while ${other.name} held the key`);
      else if (isEarlier && !other.isOver && holdOf(other) === holdOf(operation)) other.isPassed = true;
    }
    operation.begun.add(target.dataKey);
    for (const reading of this.readings) {
      const isBefore = reading.before.some((other) => other === operation || this.held(other, operation));
      if (isBefore && reading.target === target) reading.candidates = [];
    }
    // By then it has done in this step what it does, which may be nothing.
    queueMicrotask(() => this.noteChange(target.dataKey));
    if (operation.targets.length === 1) operation.isOver = true;
  }

  /** Operations of a hold run while the hold itself is not over. */
  protected held(first: Operation, operation: Operation): boolean {
    return operation.name.startsWith(`${first.name}/`);
  }

  protected set(dataKey: string, record: ModelRecord | undefined): void {
    if (record === undefined) this.model.records.delete(dataKey);
    else this.model.records.set(dataKey, record);
    this.noteChange(dataKey);
  }

  /** The record has changed, or an operation has taken effect: reads may see what is there now. */
  protected noteChange(dataKey: string): void {
    const record = this.model.records.get(dataKey);
    for (const { target, candidates } of this.readings) if (target.dataKey === dataKey) candidates.push(record);
    this.watchWalks();
  }

  protected watchWalks(): void {
    const nowMs = this.world.clock.wallMs();
    for (const { must } of this.walks) {
      for (const dataKey of must) if (liveEntry(this.model.records.get(dataKey), nowMs) === null) must.delete(dataKey);
    }
  }

  // Bookkeeping.

  protected operation(name: string, targets: readonly Target[], isRemoval = false): Operation {
    const operation: Operation = {
      name,
      targets,
      isOver: false,
      isPassed: false,
      isDropped: false,
      isHolding: false,
      isRemoval,
      begun: new Set(),
      hasRemoved: false,
    };
    for (const target of new Set(targets)) {
      this.lanes.set(target.dataKey, [...this.lane(target).filter((other) => !isDone(other)), operation]);
    }
    return operation;
  }

  protected lane(target: Target): readonly Operation[] {
    return this.lanes.get(target.dataKey) ?? [];
  }

  protected mint(operation: Operation, covers: Minting["covers"]): { value: string; expiryMs: number } {
    const random = this.random;
    const value = `v${++this.values}`.padEnd(random.chance(0.03) ? SETTINGS.maxPairBytes + 1 : 5, ".");
    const expiryMs = random.chance(0.4) ? this.world.clock.wallMs() + random.pick([-5, 1, 50, 500, 5_000]) : 0;
    this.mintings.set(value, { operation, covers, expiryMs });
    return { value, expiryMs };
  }

  /** Runs the synchronous form. True when the operation is over, done or refused. */
  protected tried(operation: Operation, attempt: () => boolean): boolean {
    const outcome = orCode(attempt);
    if (outcome === false) return false;
    operation.isOver = true;
    if (outcome === true) this.requireIdle(operation.targets[0]!, operation.name, operation);
    if (isCode(outcome)) {
      operation.isDropped = true;
      if (outcome === "CONFLICT") this.counts.conflicts++;
      else this.noteRefusal(outcome, true);
    }
    return true;
  }

  /** A synchronous form may answer only when nothing on the key is waiting: what seems to wait was refused, or is caught. */
  protected requireIdle(target: Target, name: string, self: Operation | null = null): void {
    const hold = self === null ? "" : holdOf(self);
    for (const other of this.lane(target)) {
      if (isDone(other) || other === self || holdOf(other) !== hold) continue;
      if (other.isHolding) throw new Error(`${name} ${nameOf(target)} did not wait for ${other.name}`);
      other.isPassed = true;
    }
  }

  protected watch<T>(
    name: string,
    operation: Operation | null,
    work: Promise<T>,
    then: (answer: T | Code) => void,
  ): Promise<void> {
    this.counts.waited++;
    const outcome = work.catch((error: unknown): Code => {
      if (!(error instanceof OperatingError)) throw error;
      if (operation !== null) operation.isDropped = true;
      return `!${error.code}`.slice(1) as Code;
    });
    const watched: Promise<void> = outcome
      .then((answer) => {
        if (operation !== null) operation.isOver = true;
        then(answer);
      })
      .catch((error: unknown) => {
        this.failure ??= new Error(`${name}: ${error instanceof Error ? error.stack : String(error)}`);
      })
      .finally(() => this.underway.delete(watched));
    this.underway.add(watched);
    return watched;
  }

  protected noteRefusal(code: Code, mayBeArgument = false): void {
    if (code === "TIMEOUT") this.counts.timeouts++;
    else if (code === "BUSY") this.counts.busy++;
    else if (code === "ARGUMENT" && mayBeArgument) this.counts.limits++;
    else if (code === "IO") this.counts.refusals++;
    else throw new Error(`refused with ${code}`);
  }

  protected beginReading(target: Target): Reading {
    const before = this.lane(target).filter((operation) => !isDone(operation));
    // What seems to come before may have been refused as it was called: then this is what there is to read.
    const reading: Reading = { target, before, candidates: [this.model.records.get(target.dataKey)] };
    this.readings.add(reading);
    return reading;
  }

  /** A read that was answered has passed those before it that have not taken effect: they may not any more. */
  protected endReading(reading: Reading, answer: unknown): void {
    const { target, before } = reading;
    this.readings.delete(reading);
    if (isCode(answer) && answer !== "CONFLICT") return;
    for (const other of before) {
      if (isDone(other) || other.begun.has(target.dataKey)) continue;
      if (other.isHolding) throw new Error(`a read of ${nameOf(target)} did not wait for ${other.name}`);
      other.isPassed = true;
    }
  }

  protected compareAnswer(
    target: Target,
    scope: Scope,
    answer: Entry | null | Code,
    candidates: readonly (ModelRecord | undefined)[],
  ): void {
    if (answer === "CONFLICT") {
      this.counts.conflicts++;
      if (scope.consistency.conflicts !== "error" || !candidates.some((record) => (record?.length ?? 0) > 1)) {
        throw new Error("CONFLICT without siblings");
      }
      return;
    }
    if (isCode(answer)) return this.noteRefusal(answer);
    const nowMs = this.world.clock.wallMs();
    const isPossible = candidates.some((record) => {
      const live = liveEntry(record, nowMs);
      return live?.value === answer?.value && live?.expiryMs === answer?.expiryMs;
    });
    if (!isPossible) {
      throw new Error(`${nameOf(target)} read as ${answer?.value ?? "nothing"}, not of ${candidates.map(textOf).join(" | ")}`);
    }
  }

  protected compareEntry(target: Target, entry: Entry | null): void {
    const record = this.model.records.get(target.dataKey);
    const live = liveEntry(record, this.world.clock.wallMs());
    if (live?.value !== entry?.value || live?.expiryMs !== entry?.expiryMs) {
      throw new Error(`an update of ${nameOf(target)} was shown ${entry?.value ?? "nothing"}, not ${textOf(record)}`);
    }
  }

  protected requireSiblings(target: Target, scope: Scope): void {
    this.counts.conflicts++;
    if (scope.consistency.conflicts !== "error" || !this.withSiblings.has(target.dataKey))
      throw new Error("CONFLICT without siblings");
  }

  protected compare(target: Target, record: StoredRecord, expected: ModelRecord): void {
    const stored = record.versions.map(({ value, expiryMs }) => {
      return { value: value === null ? null : Buffer.from(value).toString("latin1"), expiryMs };
    });
    if (textOf(stored) !== textOf(expected)) {
      throw new Error(`${nameOf(target)} holds ${textOf(stored)}, not ${textOf(expected)}`);
    }
    const storedDots = `${textOfDots(record.versions.map(({ dot }) => dot))}, context ${textOfDots(record.context.entries)}`;
    const seen = [...expected[0]!.seen].sort().map(([actor, sequence]): Dot => ({ actor, sequence }));
    const expectedDots = `${textOfDots(expected.map(({ dot }) => dot))}, context ${textOfDots(seen)}`;
    if (storedDots !== expectedDots) throw new Error(`${nameOf(target)} holds ${storedDots}, not ${expectedDots}`);
  }
}

function textOfDots(dots: readonly Dot[]): string {
  return dots.map((dot) => readableDot(dot, NAMES)).join(" ");
}

/** Both DEL and FLUSHDB remove through the replica; which of them it is shows only in who has called. */
function isOfFlush(): boolean {
  return new Error().stack?.includes("key-walk") ?? false;
}
