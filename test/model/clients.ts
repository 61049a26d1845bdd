/** What the clients of the model test do: each operation is drawn, called, and its answer compared with the model. */
import { readableDot } from "../../lib/causality/actor.js";
import { type Effect, type Entry, type Hold, KEEP, NOT_IN_MEMORY, REMOVE, type Scope } from "../../lib/coordinator/keyspace.js";
import { Journal } from "./journal.js";
import { isLiveVersion, liveEntry, type ModelVersion, textOf } from "./keyspace-model.js";
import { isCode, nameOf, type Operation, orCode, SETTINGS, type Target, type Walk } from "./operation.js";
import { bytes, NAMES, scopeOf } from "./world.js";

export class Clients extends Journal {
  protected call(): void {
    const random = this.random;
    const draw = random.below(100);
    const target = random.pick(this.targets);
    const scope = scopeOf({ database: target.database, conflicts: random.chance(0.1) ? "error" : "newest" });
    if (draw < 20) this.read(scope, target);
    else if (draw < 40) this.put(scope, target, "");
    else if (draw < 60) this.update(scope, target, "");
    else if (draw < 68) this.remove(scope, target);
    else if (draw < 76) void this.updateMany("", null);
    else if (draw < 82) this.siblings(scope, target);
    else if (draw < 92) this.putWithContext(scope, target);
    else if (draw < 95) this.holdSome();
    else if (draw < 97) this.walk(target.database);
    else if (draw < 98) this.randomKey(target.database);
    else if (random.chance(0.3)) this.flush(target.database);
  }

  protected read(scope: Scope, target: Target): void {
    const { coordinator } = this.world;
    if (this.random.chance(0.5)) {
      const answer = orCode(() => coordinator.peek(scope, bytes(target.key)));
      if (answer !== NOT_IN_MEMORY) {
        this.requireIdle(target, "peek");
        this.compareAnswer(target, scope, answer, [this.model.records.get(target.dataKey)]);
        return;
      }
    }
    const reading = this.beginReading(target);
    void this.watch(`read ${nameOf(target)}`, null, coordinator.read(scope, bytes(target.key)), (answer) => {
      this.endReading(reading, answer);
      this.compareAnswer(target, scope, answer, reading.candidates);
    });
  }

  protected siblings(scope: Scope, target: Target): void {
    const reading = this.beginReading(target);
    void this.watch(`siblings ${nameOf(target)}`, null, this.world.coordinator.siblings(scope, bytes(target.key)), (answer) => {
      this.endReading(reading, answer);
      if (isCode(answer)) return this.noteRefusal(answer);
      const nowMs = this.world.clock.wallMs();
      const found = answer === null ? "nothing" : answer.versions.map(({ dot, value }) => `${dot}=${value}`).join();
      const shown = ({ dot, ...version }: ModelVersion): string =>
        `${readableDot(dot, NAMES)}=${isLiveVersion(version, nowMs) ? version.value : null}`;
      const record = reading.candidates.find((candidate) => found === (candidate?.map(shown).join() ?? "nothing"));
      if (record === undefined && !(answer === null && reading.candidates.includes(undefined)))
        throw new Error(`SIBLINGS ${nameOf(target)} answered ${found} for ${reading.candidates.map(textOf).join(" | ")}`);
      if (answer !== null) this.tokens.push({ target, text: answer.context, seen: record![0]!.seen });
    });
  }

  protected put(scope: Scope, target: Target, prefix: string): void {
    const { coordinator } = this.world;
    const operation = this.operation(`${prefix}put`, [target]);
    const { value, expiryMs } = this.mint(operation, "all");
    if (
      this.random.chance(0.5) &&
      this.tried(operation, () => coordinator.tryPut(scope, bytes(target.key), bytes(value), expiryMs))
    ) {
      return;
    }
    void this.watch(operation.name, operation, coordinator.put(scope, bytes(target.key), bytes(value), expiryMs), (answer) => {
      if (!isCode(answer) && !this.applied.has(value)) throw new Error(`${operation.name} answered and was never stored`);
      if (isCode(answer)) this.noteRefusal(answer, value.length > 100);
    });
  }

  protected update(scope: Scope, target: Target, prefix: string): void {
    const { coordinator } = this.world;
    const operation = this.operation(`${prefix}update`, [target]);
    const draw = this.random.below(3);
    const minted = this.mint(operation, "newest");
    let asked = 0;
    const decide = (entry: Entry | null): Effect => {
      asked++;
      this.guard(() => this.compareEntry(target, entry));
      this.guard(() => this.inOrder(operation, target));
      if (draw === 0 || (draw === 1 && entry === null)) {
        operation.isOver = true;
        return KEEP;
      }
      if (draw === 2) return { kind: "put", ...minted };
      this.expectRemoval({ operation, dataKey: target.dataKey });
      return REMOVE;
    };
    if (this.random.chance(0.5) && this.tried(operation, () => coordinator.tryUpdate(scope, bytes(target.key), decide))) return;
    void this.watch(operation.name, operation, coordinator.update(scope, bytes(target.key), decide), (answer) => {
      if (!isCode(answer)) {
        if (asked !== 1) throw new Error(`${operation.name} decided ${asked} times`);
      } else if (answer === "CONFLICT") this.requireSiblings(target, scope);
      else this.noteRefusal(answer, minted.value.length > 100);
    });
  }

  protected remove(scope: Scope, target: Target): void {
    const { coordinator } = this.world;
    const operation = this.operation("remove", [target], true);
    const wasFlushing = this.flushes.includes(target.database);
    if (this.random.chance(0.5)) {
      const expected = liveEntry(this.model.records.get(target.dataKey), this.world.clock.wallMs()) !== null;
      const outcome = orCode(() => coordinator.tryRemove(scope, bytes(target.key)));
      if (outcome !== NOT_IN_MEMORY) {
        this.requireIdle(target, "tryRemove", operation);
        operation.isOver = true;
        if (isCode(outcome)) this.noteRefusal(outcome);
        else if (outcome !== expected) throw new Error(`tryRemove ${nameOf(target)} said ${String(outcome)}`);
        return;
      }
    }
    void this.watch(operation.name, operation, coordinator.remove(scope, bytes(target.key)), (answer) => {
      if (isCode(answer)) return this.noteRefusal(answer);
      if (operation.hasRemoved !== answer && !wasFlushing && !this.flushes.includes(target.database))
        throw new Error(`remove ${nameOf(target)} said ${answer}`);
    });
  }

  protected updateMany(prefix: string, hold: Hold | null): Promise<void> {
    const { coordinator } = this.world;
    const targets = Array.from({ length: 1 + this.random.below(4) }, () => this.random.pick(this.targets));
    const operation = this.operation(`${prefix}updateMany`, targets);
    const draws = targets.map(() => ({ kind: this.random.below(3), ...this.mint(operation, "newest") }));
    const decide = (entries: readonly (Entry | null)[]): readonly Effect[] => {
      targets.forEach((target, at) => {
        this.guard(() => this.compareEntry(target, entries[at]!));
        this.guard(() => this.inOrder(operation, target));
      });
      const effects = draws.map(({ kind, value, expiryMs }): Effect => {
        return kind === 0 ? KEEP : kind === 1 ? REMOVE : { kind: "put", value, expiryMs };
      });
      const isRefused = draws.some(
        ({ kind, value }, at) => kind === 2 && value.length + targets[at]!.key.length > SETTINGS.maxPairBytes,
      );
      if (!isRefused) this.expectRemovals(operation, targets, effects);
      return effects;
    };
    const scopes = targets.map(({ database }) => scopeOf({ database, hold }));
    const work = coordinator.updateMany(
      scopes,
      targets.map(({ key }) => bytes(key)),
      decide,
    );
    return this.watch(operation.name, operation, work, (answer) => {
      if (isCode(answer))
        this.noteRefusal(
          answer,
          draws.some(({ value }) => value.length > 100),
        );
    });
  }

  /** Which of the removals of one step will find a record: earlier effects of the step count. */
  protected expectRemovals(operation: Operation, targets: readonly Target[], effects: readonly Effect[]): void {
    const isThere = new Map(targets.map(({ dataKey }) => [dataKey, this.model.records.get(dataKey)?.length ?? 0]));
    effects.forEach(({ kind }, at) => {
      const { dataKey } = targets[at]!;
      if (kind === "put") isThere.set(dataKey, Math.max(1, isThere.get(dataKey)!));
      if (kind !== "remove" || isThere.get(dataKey) === 0) return;
      this.expectRemoval({ operation, dataKey });
      if (isThere.get(dataKey) === 1) isThere.set(dataKey, 0);
    });
  }

  protected putWithContext(scope: Scope, target: Target): void {
    const { coordinator } = this.world;
    const ofKey = this.tokens.filter((token) => token.target === target);
    const isForeign = this.random.chance(0.1);
    const choices = isForeign ? this.tokens.filter((token) => token.target !== target) : ofKey.slice(-6);
    if (choices.length === 0) return this.siblings(scope, target);
    const token = this.random.pick(choices);
    const operation = this.operation("putWithContext", [target]);
    const { value, expiryMs } = this.mint(operation, { seen: token.seen });
    const work = coordinator.putWithContext(scope, bytes(target.key), bytes(value), expiryMs, token.text);
    void this.watch(operation.name, operation, work, (answer) => {
      if (isForeign && answer !== "ARGUMENT" && answer !== "BUSY") throw new Error("a context of another key was taken");
      if (isCode(answer)) this.noteRefusal(answer, true);
    });
  }

  protected holdSome(): void {
    const targets = Array.from({ length: 1 + this.random.below(4) }, () => this.random.pick(this.targets));
    const operation = this.operation(`hold${++this.values}`, targets);
    const scopes = targets.map(({ database }) => scopeOf({ database }));
    this.counts.holds++;
    const work = this.world.coordinator.hold(
      scopes,
      targets.map(({ key }) => bytes(key)),
    );
    const inside = async (): Promise<void> => {
      const hold = await work;
      if (operation.isPassed) throw new Error(`${operation.name} came after one that was called later`);
      operation.isHolding = true;
      for (let times = this.random.below(4); times > 0; times--) {
        const target = this.random.pick(targets);
        const scope = scopeOf({ database: target.database, hold });
        const before = this.underway.size;
        this.put(scope, target, `${operation.name}/`);
        if (this.random.chance(0.3)) this.put(scope, target, `${operation.name}/`);
        if (this.random.chance(0.5)) this.update(scope, target, `${operation.name}/`);
        await Promise.all([...this.underway].slice(before));
        if (this.random.chance(0.2)) await this.updateMany(`${operation.name}/`, hold);
      }
      operation.isOver = true;
      hold.release();
    };
    void this.watch(operation.name, operation, inside(), (answer) => {
      if (isCode(answer)) this.noteRefusal(answer);
    });
  }

  protected flush(database: number): void {
    this.counts.flushes++;
    if (this.random.chance(0.5)) {
      void this.watch("flush all", null, this.world.coordinator.flush(scopeOf({ database }), "all"), () => undefined);
      return;
    }
    this.flushes.push(database);
    const mustGo = new Map(
      this.targets.filter((target) => target.database === database).map(({ dataKey }) => [dataKey, this.model.lastId]),
    );
    void this.watch("flush", null, this.world.coordinator.flush(scopeOf({ database }), "database"), (answer) => {
      this.flushes.splice(this.flushes.indexOf(database), 1);
      if (isCode(answer)) return this.noteRefusal(answer);
      for (const [dataKey, upTo] of mustGo) {
        const left = this.model.records.get(dataKey)?.find(({ id }) => id <= upTo);
        if (left !== undefined && this.counts.refusedBatches === 0)
          throw new Error("a key that was there stayed after FLUSHDB");
      }
    });
  }

  protected walk(database: number): void {
    this.counts.walks++;
    const nowMs = this.world.clock.wallMs();
    const isThere = (target: Target): boolean => liveEntry(this.model.records.get(target.dataKey), nowMs) !== null;
    const walk: Walk = {
      database,
      must: new Set(
        this.targets.filter((target) => target.database === database && isThere(target)).map(({ dataKey }) => dataKey),
      ),
    };
    this.walks.add(walk);
    const pages = async (): Promise<void> => {
      const { coordinator } = this.world;
      const seen = new Set<string>();
      let cursor = 0n;
      do {
        const page = await coordinator.scan(scopeOf({ database }), cursor, 1 + this.random.below(4));
        for (const key of page.keys) seen.add(key);
        cursor = page.cursor;
      } while (cursor !== 0n);
      await coordinator.scan(scopeOf({ database }), BigInt(Math.floor(this.random.fraction() * 2 ** 50)), 5);
      this.watchWalks();
      this.walks.delete(walk);
      for (const dataKey of walk.must) {
        const { key } = this.byDataKey.get(dataKey)!;
        if (!seen.has(key)) throw new Error(`SCAN of ${database} did not show ${key}, which stayed`);
      }
    };
    void this.watch("walk", null, pages(), () => undefined);
  }

  protected randomKey(database: number): void {
    void this.watch("randomKey", null, this.world.coordinator.randomKey(scopeOf({ database })), (answer) => {
      if (answer !== null && !isCode(answer) && !this.targets.some(({ key }) => key === answer)) {
        throw new Error(`RANDOMKEY answered ${answer}, which never was`);
      }
    });
  }
}
