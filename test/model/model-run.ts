/**
 * One seed of the model test: clients' random operations on a coordinator over a store that is cold at random, compared
 * with plain Maps. The store tells when something is stored: values are unique, so each change is known for the operation
 * that made it, must come in the order in which the key's operations were called, and must leave exactly the model's record.
 */
import { slotOf } from "../../lib/bytes/slot.js";
import type { Record as StoredRecord } from "../../lib/causality/record.js";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import { type Effect, type Entry, type Hold, KEEP, NOT_IN_MEMORY, REMOVE, type Scope } from "../../lib/coordinator/keyspace.js";
import { OperatingError } from "../../lib/errors.js";
import { DATA_END, DATABASES, DataKeys, EXPIRY_START, expiryKey, META_START } from "../../lib/replica/data-key.js";
import { settle } from "../sim/sim-clock.js";
import { SimRandom } from "../sim/sim-random.js";
import type { StoreEvents } from "./cold-store.js";
import { isDead, KeyspaceModel, liveEntry, type ModelRecord, type ModelVersion, textOf } from "./keyspace-model.js";
import { bytes, scopeOf, World } from "./world.js";

export type ModelEvent =
  | "applied"
  | "removed"
  | "reaped"
  | "refusedBatches"
  | "timeouts"
  | "busy"
  | "conflicts"
  | "siblings"
  | "limits"
  | "waited"
  | "holds"
  | "flushes"
  | "walks"
  | "jumps"
  | "stops"
  | "crashes"
  | "lost"
  | "refusals";

export interface ModelReport {
  readonly counts: Readonly<Record<ModelEvent, number>>;
}

interface Target {
  readonly database: number;
  readonly key: string;
  readonly dataKey: string;
}

/** One operation on one or several keys. */
interface Operation {
  readonly name: string;
  readonly targets: readonly Target[];
  /** It took effect, or its caller has its answer. */
  isOver: boolean;
  /** A later one took effect: this one may not any more (it had nothing to do, or was refused and will be told). */
  isPassed: boolean;
  /** It was refused. */
  isDropped: boolean;
  /** A hold that has its keys. */
  isHolding: boolean;
  readonly isRemoval: boolean;
  /** Keys on which it has taken effect. */
  readonly begun: Set<string>;
  /** A removal that found a live value. */
  hasRemoved: boolean;
}

/** What an operation stores under a value. */
interface Minting {
  readonly operation: Operation;
  readonly covers: "all" | "newest" | { readonly upTo: number };
  readonly expiryMs: number;
}

interface Removal {
  readonly operation: Operation;
  readonly dataKey: string;
}

interface Reading {
  readonly target: Target;
  readonly before: readonly Operation[];
  readonly candidates: (ModelRecord | undefined)[];
}

interface Token {
  readonly target: Target;
  readonly text: string;
  readonly upTo: number;
}

interface Walk {
  readonly database: number;
  readonly must: Set<string>;
}

const SETTINGS = { maxPairBytes: 200, siblingsMax: 3, requestTimeoutMs: 50 };

export async function runModelSeed(seed: number): Promise<ModelReport> {
  const run = new ModelRun(seed);
  try {
    await run.run();
  } catch (error) {
    throw new Error(`model seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return { counts: run.counts };
}

class ModelRun implements StoreEvents {
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
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #model = new KeyspaceModel();
  readonly #targets: readonly Target[];
  readonly #byDataKey: ReadonlyMap<string, Target>;
  readonly #applied = new Set<string>();
  /** Keys that had siblings some time. */
  readonly #withSiblings = new Set<string>();
  readonly #dots = new Set<string>();
  readonly #mintings = new Map<string, Minting>();
  readonly #queuedMax: number;
  #lanes = new Map<string, Operation[]>();
  #readings = new Set<Reading>();
  #walks = new Set<Walk>();
  #tokens: Token[] = [];
  #underway = new Set<Promise<void>>();
  /** The databases of FLUSHDBs under way. */
  readonly #flushes: number[] = [];
  /** The first thing that went wrong where it could not be thrown. */
  #failure: Error | null = null;
  /** The removal that `decide` has just asked for. */
  #removing: Removal[] = [];
  #values = 0;
  #world!: World;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = new SimRandom(seed);
    const random = this.#random;
    this.#queuedMax = random.pick([6, 1_000]);
    const keys = new DataKeys();
    const names = Array.from({ length: random.pick([2, 4, 12]) }, (_, at) => random.pick([`{s}${at}`, `k${at}`]));
    this.#targets = names.flatMap((key) =>
      [0, 1, 15].map((database) => ({ database, key, dataKey: keys.of(database, bytes(key)) })),
    );
    this.#byDataKey = new Map(this.#targets.map((target) => [target.dataKey, target]));
  }

  async run(): Promise<void> {
    this.#world = await World.start({ seed: this.#seed, settings: { ...SETTINGS, queuedMax: this.#queuedMax }, events: this });
    this.#model.commit();
    const lives = 1 + this.#random.below(3);
    for (let life = 0; life < lives; life++) {
      await this.#live();
      if (life + 1 < lives) await this.#restart();
    }
  }

  async #live(): Promise<void> {
    const random = this.#random;
    const { store, clock, reaper, disk } = this.#world;
    reaper.start();
    store.coldness = random.pick([0, 0.3, 0.9]);
    store.readMsMax = random.pick([0, 1, 10]);
    const isDiskTight = random.chance(0.3);
    for (let step = 10 + random.below(120); step > 0; step--) {
      if (isDiskTight && random.chance(0.1)) disk.faults.capacityBytes = disk.usedBytes + random.pick([0, 100, 1e6]);
      if (random.chance(0.05)) store.backlogNow = random.pick(["open", "slow", "stopped"]);
      for (let calls = 1 + random.below(4); calls > 0; calls--) this.#call();
      await settle();
      this.#check();
      if (random.chance(0.3)) this.#commit();
      if (random.chance(0.4)) await clock.advance(random.fraction() * random.pick([1, 10, 100, 300]));
      if (random.chance(0.05)) this.#jump();
      this.#watchWalks();
      this.#check();
      if (random.chance(0.1)) await this.#quiesce();
    }
    disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    store.backlogNow = "open";
    await this.#quiesce();
  }

  #jump(): void {
    this.counts.jumps++;
    this.#world.clock.jumpWall(Math.floor((this.#random.fraction() - 0.5) * this.#random.pick([100, 2_000])));
  }

  #commit(): void {
    try {
      this.#world.store.commit();
    } catch (error) {
      requireCode(error, "IO");
    }
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  // What the store tells.

  onPut(key: string, stored: Uint8Array, start: number, end: number): void {
    const target = this.#byDataKey.get(key);
    if (target !== undefined) this.#guard(() => this.#stored(target, decodeRecord(Buffer.from(stored.subarray(start, end)))));
  }

  onRemove(key: string): void {
    const target = this.#byDataKey.get(key);
    if (target !== undefined) this.#guard(() => this.#removed(target));
  }

  onClear(): void {
    for (const { dataKey } of this.#targets) this.#set(dataKey, undefined);
  }

  onBatch(outcome: "committed" | "refused"): void {
    if (outcome === "committed") this.#model.commit();
    else {
      this.counts.refusedBatches++;
      for (const dataKey of this.#model.undo()) this.#noteChange(dataKey);
    }
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }

  #stored(target: Target, record: StoredRecord): void {
    const old = this.#model.records.get(target.dataKey);
    const removal = record.versions[0]!.value === null ? this.#takeRemoval(target.dataKey) : null;
    let expected: ModelRecord;
    if (removal !== null) {
      // A removal among siblings is a tombstone over the newest.
      this.#inOrder(removal.operation, target);
      expected = [{ id: this.#model.nextId(), value: null, expiryMs: 0 }, ...old!.slice(1)];
    } else {
      const newest = record.versions[0]!;
      const value = Buffer.from(newest.value ?? []).toString("latin1");
      const minting = this.#mintings.get(value);
      if (minting === undefined) throw new Error(`a value that nobody put: ${value}`);
      this.#inOrder(minting.operation, target);
      const version: ModelVersion = { id: this.#model.nextId(), value, expiryMs: minting.expiryMs };
      expected = [version, ...remaining(old ?? [], minting.covers)];
      this.counts.applied++;
      this.#applied.add(value);
    }
    if (expected.length > 1) {
      this.counts.siblings++;
      this.#withSiblings.add(target.dataKey);
    }
    this.#compare(target, record, expected);
    const { actor, sequence } = record.versions[0]!.dot;
    const dot = `${Buffer.from(actor, "latin1").toString("hex")}:${sequence}`;
    if (this.#dots.has(dot)) throw new Error(`a dot was given twice: ${dot}`);
    this.#dots.add(dot);
    this.#set(target.dataKey, expected);
  }

  #removed(target: Target): void {
    const removal = this.#takeRemoval(target.dataKey);
    const old = this.#model.records.get(target.dataKey);
    if (old === undefined) throw new Error(`${nameOf(target)} was removed, but there was nothing`);
    const first = this.#lane(target).find((operation) => operation.isRemoval && !isDone(operation));
    if (removal !== null) this.#inOrder(removal.operation, target);
    else if (isDead(old, this.#world.clock.wallMs())) this.counts.reaped++;
    else if (first !== undefined) {
      this.#inOrder(first, target);
      first.hasRemoved = liveEntry(old, this.#world.clock.wallMs()) !== null;
    } else if (this.#isExpiredMinting(target, old)) this.counts.reaped++;
    else if (!this.#flushes.includes(target.database)) {
      throw new Error(`${nameOf(target)} was removed, but it was live: ${textOf(old)}`);
    }
    this.counts.removed++;
    this.#set(target.dataKey, undefined);
  }

  /** A version that has expired when it is stored, and all that is left of the record with it: nothing is stored. */
  #isExpiredMinting(target: Target, old: ModelRecord): boolean {
    const nowMs = this.#world.clock.wallMs();
    for (const [value, { operation, covers, expiryMs }] of this.#mintings) {
      if (operation.isDropped || operation.isPassed || !operation.targets.includes(target) || this.#applied.has(value))
        continue;
      if (operation.isOver || !isDead([{ id: 0, value, expiryMs }, ...remaining(old, covers)], nowMs)) continue;
      this.#applied.add(value);
      this.#inOrder(operation, target);
      return true;
    }
    return false;
  }

  /** What `decide` asks for happens in the same step. */
  #expectRemoval(removal: Removal): void {
    this.#removing.push(removal);
    queueMicrotask(() => {
      this.#removing = [];
    });
  }

  #takeRemoval(dataKey: string): Removal | null {
    const at = this.#removing.findIndex((removal) => removal.dataKey === dataKey);
    return at < 0 ? null : this.#removing.splice(at, 1)[0]!;
  }

  /** An operation takes effect: all earlier ones on the key must be over. */
  #inOrder(operation: Operation, target: Target): void {
    if (operation.isDropped) throw new Error(`${operation.name} took effect on ${nameOf(target)} after it was refused`);
    if (operation.isPassed)
      throw new Error(`${operation.name} took effect on ${nameOf(target)} after one that was called later`);
    let isEarlier = true;
    for (const other of this.#lane(target)) {
      if (other === operation) isEarlier = false;
      else if (this.#held(other, operation)) continue;
      else if (other.isHolding && !other.isOver)
        throw new Error(`${operation.name} took effect while ${other.name} held the key`);
      else if (isEarlier && !other.isOver && holdOf(other) === holdOf(operation)) other.isPassed = true;
    }
    operation.begun.add(target.dataKey);
    if (operation.targets.length === 1) operation.isOver = true;
  }

  /** Operations of a hold run while the hold itself is not over. */
  #held(first: Operation, operation: Operation): boolean {
    return operation.name.startsWith(`${first.name}/`);
  }

  #set(dataKey: string, record: ModelRecord | undefined): void {
    if (record === undefined) this.#model.records.delete(dataKey);
    else this.#model.records.set(dataKey, record);
    this.#noteChange(dataKey);
  }

  /** The record has changed, or an operation before a read is over: the read may see what is there now. */
  #noteChange(dataKey: string): void {
    const record = this.#model.records.get(dataKey);
    for (const reading of this.#readings) {
      if (
        reading.target.dataKey === dataKey &&
        reading.before.every((operation) => isDone(operation) || operation.begun.has(dataKey))
      )
        reading.candidates.push(record);
    }
    this.#watchWalks();
  }

  #watchWalks(): void {
    const nowMs = this.#world.clock.wallMs();
    for (const { must } of this.#walks) {
      for (const dataKey of must) if (liveEntry(this.#model.records.get(dataKey), nowMs) === null) must.delete(dataKey);
    }
  }

  // What clients do.

  #call(): void {
    const random = this.#random;
    const draw = random.below(100);
    const target = random.pick(this.#targets);
    const scope = scopeOf({ database: target.database, conflicts: random.chance(0.1) ? "error" : "newest" });
    if (draw < 20) this.#read(scope, target);
    else if (draw < 40) this.#put(scope, target, "");
    else if (draw < 60) this.#update(scope, target, "");
    else if (draw < 68) this.#remove(scope, target);
    else if (draw < 76) this.#updateMany("", null);
    else if (draw < 82) this.#siblings(scope, target);
    else if (draw < 92) this.#putWithContext(scope, target);
    else if (draw < 95) this.#holdSome();
    else if (draw < 97) this.#walk(target.database);
    else if (draw < 98) this.#randomKey(target.database);
    else if (random.chance(0.3)) this.#flush(target.database);
  }

  #read(scope: Scope, target: Target): void {
    const { coordinator } = this.#world;
    if (this.#random.chance(0.5)) {
      const answer = orCode(() => coordinator.peek(scope, bytes(target.key)));
      if (answer !== NOT_IN_MEMORY) {
        this.#requireIdle(target, "peek");
        this.#compareAnswer(target, scope, answer, [this.#model.records.get(target.dataKey)]);
        return;
      }
    }
    const reading = this.#beginReading(target);
    this.#watch(`read ${nameOf(target)}`, null, coordinator.read(scope, bytes(target.key)), (answer) => {
      this.#endReading(reading);
      this.#compareAnswer(target, scope, answer, reading.candidates);
    });
  }

  #siblings(scope: Scope, target: Target): void {
    const reading = this.#beginReading(target);
    this.#watch(`siblings ${nameOf(target)}`, null, this.#world.coordinator.siblings(scope, bytes(target.key)), (answer) => {
      this.#endReading(reading);
      if (isCode(answer)) return this.#noteRefusal(answer);
      const nowMs = this.#world.clock.wallMs();
      const found = answer === null ? "nothing" : answer.versions.map(({ value }) => value).join();
      const seen = reading.candidates.find((record) => {
        return found === (record?.map((version) => liveEntry([version], nowMs)?.value ?? null).join() ?? "nothing");
      });
      const isThere = seen !== undefined || (answer === null && reading.candidates.includes(undefined));
      if (!isThere)
        throw new Error(`SIBLINGS ${nameOf(target)} answered ${found} for ${reading.candidates.map(textOf).join(" | ")}`);
      if (answer !== null) this.#tokens.push({ target, text: answer.context, upTo: seen![0]!.id });
    });
  }

  #put(scope: Scope, target: Target, prefix: string): void {
    const { coordinator } = this.#world;
    const operation = this.#operation(`${prefix}put`, [target]);
    const { value, expiryMs } = this.#mint(operation, "all");
    if (
      this.#random.chance(0.5) &&
      this.#tried(operation, () => coordinator.tryPut(scope, bytes(target.key), bytes(value), expiryMs))
    ) {
      return;
    }
    this.#watch(operation.name, operation, coordinator.put(scope, bytes(target.key), bytes(value), expiryMs), (answer) => {
      if (!isCode(answer) && !this.#applied.has(value)) throw new Error(`${operation.name} answered and was never stored`);
      if (isCode(answer)) this.#noteRefusal(answer, value.length > 100);
    });
  }

  #update(scope: Scope, target: Target, prefix: string): void {
    const { coordinator } = this.#world;
    const operation = this.#operation(`${prefix}update`, [target]);
    const draw = this.#random.below(3);
    const minted = this.#mint(operation, "newest");
    let asked = 0;
    const decide = (entry: Entry | null): Effect => {
      asked++;
      this.#guard(() => this.#compareEntry(target, entry));
      this.#guard(() => this.#inOrder(operation, target));
      if (draw === 0 || (draw === 1 && entry === null)) {
        operation.isOver = true;
        this.#noteChange(target.dataKey);
        return KEEP;
      }
      if (draw === 2) return { kind: "put", ...minted };
      this.#expectRemoval({ operation, dataKey: target.dataKey });
      return REMOVE;
    };
    if (this.#random.chance(0.5) && this.#tried(operation, () => coordinator.tryUpdate(scope, bytes(target.key), decide)))
      return;
    this.#watch(operation.name, operation, coordinator.update(scope, bytes(target.key), decide), (answer) => {
      if (!isCode(answer)) {
        if (asked !== 1) throw new Error(`${operation.name} decided ${asked} times`);
      } else if (answer === "CONFLICT") this.#requireSiblings(target, scope);
      else this.#noteRefusal(answer, minted.value.length > 100);
    });
  }

  #remove(scope: Scope, target: Target): void {
    const { coordinator } = this.#world;
    const operation = this.#operation("remove", [target], true);
    const wasFlushing = this.#flushes.includes(target.database);
    if (this.#random.chance(0.5)) {
      const expected = liveEntry(this.#model.records.get(target.dataKey), this.#world.clock.wallMs()) !== null;
      const outcome = orCode(() => coordinator.tryRemove(scope, bytes(target.key)));
      if (outcome !== NOT_IN_MEMORY) {
        this.#requireIdle(target, "tryRemove", operation);
        operation.isOver = true;
        if (isCode(outcome)) this.#noteRefusal(outcome);
        else if (outcome !== expected) throw new Error(`tryRemove ${nameOf(target)} said ${String(outcome)}`);
        return;
      }
    }
    this.#watch(operation.name, operation, coordinator.remove(scope, bytes(target.key)), (answer) => {
      if (isCode(answer)) return this.#noteRefusal(answer);
      if (operation.hasRemoved !== answer && !wasFlushing && !this.#flushes.includes(target.database))
        throw new Error(`remove ${nameOf(target)} said ${answer}`);
    });
  }

  #updateMany(prefix: string, hold: Hold | null): Promise<void> {
    const { coordinator } = this.#world;
    const targets = Array.from({ length: 1 + this.#random.below(4) }, () => this.#random.pick(this.#targets));
    const operation = this.#operation(`${prefix}updateMany`, targets);
    const draws = targets.map(() => ({ kind: this.#random.below(3), ...this.#mint(operation, "newest") }));
    const decide = (entries: readonly (Entry | null)[]): readonly Effect[] => {
      targets.forEach((target, at) => {
        this.#guard(() => this.#compareEntry(target, entries[at]!));
        this.#guard(() => this.#inOrder(operation, target));
      });
      const effects = draws.map(({ kind, value, expiryMs }): Effect => {
        return kind === 0 ? KEEP : kind === 1 ? REMOVE : { kind: "put", value, expiryMs };
      });
      const isRefused = draws.some(
        ({ kind, value }, at) => kind === 2 && value.length + targets[at]!.key.length > SETTINGS.maxPairBytes,
      );
      if (!isRefused) this.#expectRemovals(operation, targets, effects);
      return effects;
    };
    const scopes = targets.map(({ database }) => scopeOf({ database, hold }));
    const work = coordinator.updateMany(
      scopes,
      targets.map(({ key }) => bytes(key)),
      decide,
    );
    return this.#watch(operation.name, operation, work, (answer) => {
      if (isCode(answer))
        this.#noteRefusal(
          answer,
          draws.some(({ value }) => value.length > 100),
        );
    });
  }

  /** Which of the removals of one step will find a record: earlier effects of the step count. */
  #expectRemovals(operation: Operation, targets: readonly Target[], effects: readonly Effect[]): void {
    const isThere = new Map(targets.map(({ dataKey }) => [dataKey, this.#model.records.get(dataKey)?.length ?? 0]));
    effects.forEach(({ kind }, at) => {
      const { dataKey } = targets[at]!;
      if (kind === "put") isThere.set(dataKey, Math.max(1, isThere.get(dataKey)!));
      if (kind !== "remove" || isThere.get(dataKey) === 0) return;
      this.#expectRemoval({ operation, dataKey });
      if (isThere.get(dataKey) === 1) isThere.set(dataKey, 0);
    });
  }

  #putWithContext(scope: Scope, target: Target): void {
    const { coordinator } = this.#world;
    const ofKey = this.#tokens.filter((token) => token.target === target);
    const isForeign = this.#random.chance(0.1);
    const choices = isForeign ? this.#tokens.filter((token) => token.target !== target) : ofKey.slice(-6);
    if (choices.length === 0) return this.#siblings(scope, target);
    const token = this.#random.pick(choices);
    const operation = this.#operation("putWithContext", [target]);
    const { value, expiryMs } = this.#mint(operation, { upTo: token.upTo });
    const work = coordinator.putWithContext(scope, bytes(target.key), bytes(value), expiryMs, token.text);
    this.#watch(operation.name, operation, work, (answer) => {
      if (isForeign && answer !== "ARGUMENT" && answer !== "BUSY") throw new Error("a context of another key was taken");
      if (isCode(answer)) this.#noteRefusal(answer, true);
    });
  }

  #holdSome(): void {
    const targets = Array.from({ length: 1 + this.#random.below(4) }, () => this.#random.pick(this.#targets));
    const operation = this.#operation(`hold${++this.#values}`, targets);
    const scopes = targets.map(({ database }) => scopeOf({ database }));
    this.counts.holds++;
    const work = this.#world.coordinator.hold(
      scopes,
      targets.map(({ key }) => bytes(key)),
    );
    const inside = async (): Promise<void> => {
      const hold = await work;
      if (operation.isPassed) throw new Error(`${operation.name} came after one that was called later`);
      operation.isHolding = true;
      for (let times = this.#random.below(4); times > 0; times--) {
        const target = this.#random.pick(targets);
        const scope = scopeOf({ database: target.database, hold });
        const before = this.#underway.size;
        this.#put(scope, target, `${operation.name}/`);
        if (this.#random.chance(0.3)) this.#put(scope, target, `${operation.name}/`);
        if (this.#random.chance(0.5)) this.#update(scope, target, `${operation.name}/`);
        await Promise.all([...this.#underway].slice(before));
        if (this.#random.chance(0.2)) await this.#updateMany(`${operation.name}/`, hold);
      }
      operation.isOver = true;
      hold.release();
    };
    this.#watch(operation.name, operation, inside(), (answer) => {
      if (isCode(answer)) this.#noteRefusal(answer);
    });
  }

  #flush(database: number): void {
    this.counts.flushes++;
    if (this.#random.chance(0.5)) {
      this.#watch("flush all", null, this.#world.coordinator.flush(scopeOf({ database }), "all"), () => undefined);
      return;
    }
    this.#flushes.push(database);
    const mustGo = new Map(
      this.#targets.filter((target) => target.database === database).map(({ dataKey }) => [dataKey, this.#model.lastId]),
    );
    this.#watch("flush", null, this.#world.coordinator.flush(scopeOf({ database }), "database"), (answer) => {
      this.#flushes.splice(this.#flushes.indexOf(database), 1);
      if (isCode(answer)) return this.#noteRefusal(answer);
      for (const [dataKey, upTo] of mustGo) {
        const left = this.#model.records.get(dataKey)?.find(({ id }) => id <= upTo);
        if (left !== undefined && this.counts.refusedBatches === 0)
          throw new Error("a key that was there stayed after FLUSHDB");
      }
    });
  }

  #walk(database: number): void {
    this.counts.walks++;
    const nowMs = this.#world.clock.wallMs();
    const isThere = (target: Target): boolean => liveEntry(this.#model.records.get(target.dataKey), nowMs) !== null;
    const walk: Walk = {
      database,
      must: new Set(
        this.#targets.filter((target) => target.database === database && isThere(target)).map(({ dataKey }) => dataKey),
      ),
    };
    this.#walks.add(walk);
    const pages = async (): Promise<void> => {
      const { coordinator } = this.#world;
      const seen = new Set<string>();
      let cursor = 0n;
      do {
        const page = await coordinator.scan(scopeOf({ database }), cursor, 1 + this.#random.below(4));
        for (const key of page.keys) seen.add(key);
        cursor = page.cursor;
      } while (cursor !== 0n);
      await coordinator.scan(scopeOf({ database }), BigInt(Math.floor(this.#random.fraction() * 2 ** 50)), 5);
      this.#walks.delete(walk);
      for (const dataKey of walk.must) {
        const { key } = this.#byDataKey.get(dataKey)!;
        if (!seen.has(key)) throw new Error(`SCAN of ${database} did not show ${key}, which stayed`);
      }
    };
    this.#watch("walk", null, pages(), () => undefined);
  }

  #randomKey(database: number): void {
    this.#watch("randomKey", null, this.#world.coordinator.randomKey(scopeOf({ database })), (answer) => {
      if (answer !== null && !isCode(answer) && !this.#targets.some(({ key }) => key === answer)) {
        throw new Error(`RANDOMKEY answered ${answer}, which never was`);
      }
    });
  }

  // Bookkeeping.

  #operation(name: string, targets: readonly Target[], isRemoval = false): Operation {
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
      this.#lanes.set(target.dataKey, [...this.#lane(target).filter((other) => !isDone(other)), operation]);
    }
    return operation;
  }

  #lane(target: Target): readonly Operation[] {
    return this.#lanes.get(target.dataKey) ?? [];
  }

  #mint(operation: Operation, covers: Minting["covers"]): { value: string; expiryMs: number } {
    const random = this.#random;
    const value = `v${++this.#values}`.padEnd(random.chance(0.03) ? SETTINGS.maxPairBytes + 1 : 5, ".");
    const expiryMs = random.chance(0.4) ? this.#world.clock.wallMs() + random.pick([-5, 1, 50, 500, 5_000]) : 0;
    this.#mintings.set(value, { operation, covers, expiryMs });
    return { value, expiryMs };
  }

  /** Runs the synchronous form. True when the operation is over, done or refused. */
  #tried(operation: Operation, attempt: () => boolean): boolean {
    const outcome = orCode(attempt);
    if (outcome === false) return false;
    operation.isOver = true;
    if (outcome === true) this.#requireIdle(operation.targets[0]!, operation.name, operation);
    if (isCode(outcome)) {
      operation.isDropped = true;
      if (outcome === "CONFLICT") this.counts.conflicts++;
      else this.#noteRefusal(outcome, true);
    }
    return true;
  }

  /** A synchronous form may answer only when nothing on the key is waiting: what seems to wait was refused, or is caught. */
  #requireIdle(target: Target, name: string, self: Operation | null = null): void {
    const hold = self === null ? "" : holdOf(self);
    for (const other of this.#lane(target)) {
      if (isDone(other) || other === self || holdOf(other) !== hold) continue;
      if (other.isHolding) throw new Error(`${name} ${nameOf(target)} did not wait for ${other.name}`);
      other.isPassed = true;
    }
  }

  #watch<T>(name: string, operation: Operation | null, work: Promise<T>, then: (answer: T | Code) => void): Promise<void> {
    this.counts.waited++;
    const outcome = work.catch((error: unknown): Code => {
      if (!(error instanceof OperatingError)) throw error;
      if (operation !== null) operation.isDropped = true;
      return `!${error.code}`.slice(1) as Code;
    });
    const watched: Promise<void> = outcome
      .then((answer) => {
        if (operation !== null) {
          operation.isOver = true;
          for (const { dataKey } of operation.targets) this.#noteChange(dataKey);
        }
        then(answer);
      })
      .catch((error: unknown) => {
        this.#failure ??= new Error(`${name}: ${error instanceof Error ? error.stack : String(error)}`);
      })
      .finally(() => this.#underway.delete(watched));
    this.#underway.add(watched);
    return watched;
  }

  #noteRefusal(code: Code, mayBeArgument = false): void {
    if (code === "TIMEOUT") this.counts.timeouts++;
    else if (code === "BUSY") this.counts.busy++;
    else if (code === "ARGUMENT" && mayBeArgument) this.counts.limits++;
    else if (code === "IO") this.counts.refusals++;
    else throw new Error(`refused with ${code}`);
  }

  #beginReading(target: Target, self: Operation | null = null): Reading {
    const before = this.#lane(target).filter((operation) => !isDone(operation) && operation !== self);
    const candidates = before.length === 0 ? [this.#model.records.get(target.dataKey)] : [];
    const reading: Reading = { target, before, candidates };
    this.#readings.add(reading);
    return reading;
  }

  #endReading(reading: Reading): void {
    this.#readings.delete(reading);
    reading.candidates.push(this.#model.records.get(reading.target.dataKey));
  }

  #compareAnswer(
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
    if (isCode(answer)) return this.#noteRefusal(answer);
    const nowMs = this.#world.clock.wallMs();
    const isPossible = candidates.some((record) => {
      const live = liveEntry(record, nowMs);
      return live?.value === answer?.value && live?.expiryMs === answer?.expiryMs;
    });
    if (!isPossible) {
      throw new Error(`${nameOf(target)} read as ${answer?.value ?? "nothing"}, not of ${candidates.map(textOf).join(" | ")}`);
    }
  }

  #compareEntry(target: Target, entry: Entry | null): void {
    const record = this.#model.records.get(target.dataKey);
    const live = liveEntry(record, this.#world.clock.wallMs());
    if (live?.value !== entry?.value || live?.expiryMs !== entry?.expiryMs) {
      throw new Error(`an update of ${nameOf(target)} was shown ${entry?.value ?? "nothing"}, not ${textOf(record)}`);
    }
  }

  #requireSiblings(target: Target, scope: Scope): void {
    this.counts.conflicts++;
    if (scope.consistency.conflicts !== "error" || !this.#withSiblings.has(target.dataKey))
      throw new Error("CONFLICT without siblings");
  }

  #compare(target: Target, record: StoredRecord, expected: ModelRecord): void {
    const stored = record.versions.map(({ value, expiryMs }) => {
      return { id: 0, value: value === null ? null : Buffer.from(value).toString("latin1"), expiryMs };
    });
    if (textOf(stored) !== textOf(expected)) {
      throw new Error(`${nameOf(target)} holds ${textOf(stored)}, not ${textOf(expected)}`);
    }
  }

  // Whole checks.

  /** Lets everything under way end, commits, and compares everything. */
  async #quiesce(): Promise<void> {
    const { store, clock, disk } = this.#world;
    const { backlogNow } = store;
    store.backlogNow = "open";
    await clock.run(Promise.all([...this.#underway]));
    this.#check();
    this.#commit();
    await this.#compareAll();
    store.backlogNow = backlogNow;
    if (this.#random.chance(0.5)) disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
  }

  async #compareAll(): Promise<void> {
    const { lsm, clock, replica } = this.#world;
    const data = await lsm.scan({ from: "", to: DATA_END, limit: 1e6, values: "with" });
    const index = await lsm.scan({ from: EXPIRY_START, to: META_START, limit: 1e6, values: "without" });
    clock.wallMs();
    const stored = new Map(data.entries.map(({ key, value }) => [key, decodeRecord(value!)]));
    const expiries: string[] = [];
    const sizes = new Map<string, number>();
    const add = (name: string): void => void sizes.set(name, (sizes.get(name) ?? 0) + 1);
    for (const target of this.#targets) {
      const record = stored.get(target.dataKey);
      const expected = this.#model.records.get(target.dataKey);
      if (record === undefined || expected === undefined) {
        if (record !== expected)
          throw new Error(`${nameOf(target)}: stored ${record !== undefined}, expected ${textOf(expected)}`);
        continue;
      }
      this.#compare(target, record, expected);
      const distinct = new Set(expected.map(({ expiryMs }) => expiryMs).filter((expiryMs) => expiryMs !== 0));
      for (const expiryMs of distinct) expiries.push(expiryKey(expiryMs, target.dataKey));
      add(`${target.database}`);
      add(`${target.database}/${slotOf(bytes(target.key))}`);
      if (distinct.size > 0) add(`${target.database} expiring`);
    }
    if (stored.size !== this.#model.records.size) throw new Error("there are keys that nobody put");
    const found = index.entries.map(({ key }) => key);
    if (found.join() !== expiries.sort().join())
      throw new Error(`the expiry index has ${found.length} entries, not ${expiries.length}`);
    for (let database = 0; database < DATABASES; database++) {
      requireCount(`size of ${database}`, replica.size(database), sizes.get(`${database}`));
      requireCount(`expiring of ${database}`, replica.expiringSize(database), sizes.get(`${database} expiring`));
    }
    for (const { database, key } of this.#targets) {
      const slot = slotOf(bytes(key));
      requireCount(`slot ${slot}`, replica.sizeOfSlot(database, slot), sizes.get(`${database}/${slot}`));
    }
  }

  async #restart(): Promise<void> {
    const world = this.#world;
    const { store } = world;
    const isClean = this.#random.chance(0.5);
    this.#commit();
    await world.run(world.reaper.stop());
    if (isClean) {
      this.counts.stops++;
      await world.stop();
      this.#model.history = this.#model.history.slice(-1);
    } else {
      this.counts.crashes++;
      if (this.#random.chance(0.5)) {
        store.syncNow();
        this.#model.history = this.#model.history.slice(-1);
      }
    }
    store.events = { onPut() {}, onRemove() {}, onClear() {}, onBatch() {} };
    const epochBefore = world.identity.epoch;
    const wallMs = world.clock.wallMs() + this.#random.pick([0, 10, -5_000]);
    const settings = { ...SETTINGS, queuedMax: this.#queuedMax };
    this.#world = await world.restart({ seed: this.#random.below(1e9), settings, wallMs, events: this });
    if ((this.#world.identity.epoch === epochBefore) !== isClean)
      throw new Error("an epoch ends exactly where a stop was not clean");
    await this.#chooseState();
    this.#lanes.clear();
    await this.#compareAll();
  }

  /** After a crash the store holds the state after some batch. */
  async #chooseState(): Promise<void> {
    const page = await this.#world.lsm.scan({ from: "", to: DATA_END, limit: 1e6, values: "with" });
    const found = page.entries.map(({ key, value }) => {
      const { versions } = decodeRecord(value!);
      return `${key}=${versions.map((version) => Buffer.from(version.value ?? "tombstone").toString("latin1")).join()}`;
    });
    const { history } = this.#model;
    for (let at = history.length - 1; at >= 0; at--) {
      const state = [...history[at]!].sort(([a], [b]) => (a < b ? -1 : 1));
      const texts = state.map(([key, record]) => `${key}=${record.map(({ value }) => value ?? "tombstone").join()}`);
      if (texts.join("|") !== found.join("|")) continue;
      this.counts.lost += history.length - 1 - at;
      return this.#model.restartWith(history[at]!);
    }
    throw new Error("after a restart the store holds none of the states that it had");
  }
}

type Code = "IO" | "BUSY" | "TIMEOUT" | "ARGUMENT" | "CONFLICT" | "CORRUPT" | "CLOSED";
const CODES: readonly unknown[] = ["IO", "BUSY", "TIMEOUT", "ARGUMENT", "CONFLICT", "CORRUPT", "CLOSED"];

function isCode(answer: unknown): answer is Code {
  return CODES.includes(answer);
}

/** The value, or the code of the operating failure that was thrown. */
function orCode<T>(work: () => T): T | Code {
  try {
    return work();
  } catch (error) {
    if (error instanceof OperatingError) return error.code as Code;
    throw error;
  }
}

function requireCode(error: unknown, code: Code): void {
  if (!(error instanceof OperatingError) || error.code !== code) throw error;
}

function requireCount(what: string, have: number, want = 0): void {
  if (have !== want) throw new Error(`${what} is ${have}, not ${want}`);
}

function remaining(old: ModelRecord, covers: Minting["covers"]): ModelRecord {
  if (covers === "all") return [];
  if (covers === "newest") return old.slice(1);
  return old.filter(({ id }) => id > covers.upTo);
}

function isDone(operation: Operation): boolean {
  return operation.isOver || operation.isPassed;
}

/** The name of the hold that it runs in, or "". */
function holdOf({ name }: Operation): string {
  return name.includes("/") ? name.slice(0, name.indexOf("/")) : "";
}

function nameOf({ database, key }: Target): string {
  return `${key} of ${database}`;
}
