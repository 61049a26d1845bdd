/**
 * Random histories of one key on a few replicas, run twice: with records, and with a model in which every write keeps the
 * full set of the writes it had seen. Also arbitrary well-formed records, for the encodings.
 */
import fc from "fast-check";
import { type Actor, actorOf, type Dot } from "../../lib/causality/actor.js";
import { HybridClock } from "../../lib/causality/hybrid-clock.js";
import {
  COVERS_ALL,
  type Covered,
  merge,
  NO_FIELDS,
  newestFirst,
  type Record,
  supersede,
  type Version,
} from "../../lib/causality/record.js";
import { VersionVector } from "../../lib/causality/version-vector.js";

export const NOW_MS = 1_750_000_000_000;
const REPLICAS = 4;

/** One step; numbers are taken modulo what there is to choose from. */
export interface Step {
  readonly kind: "put" | "remove" | "context" | "modify" | "read" | "sync" | "forget";
  readonly replica: number;
  readonly choice: number;
  readonly value: Uint8Array;
  readonly expiryMs: number;
  readonly writeId: string | null;
  readonly wallMs: number;
}

export const expiry: fc.Arbitrary<number> = fc.oneof(
  { arbitrary: fc.constant(0), weight: 2 },
  { arbitrary: fc.integer({ min: NOW_MS - 1_000, max: NOW_MS + 1_000 }), weight: 2 },
  { arbitrary: fc.maxSafeNat().map((ms) => ms + (ms === 0 ? 1 : 0)), weight: 1 },
);

export const value: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.uint8Array({ minLength: 100, maxLength: 300 }),
);

export const writeId: fc.Arbitrary<string | null> = fc.oneof(
  { arbitrary: fc.constant(null), weight: 3 },
  { arbitrary: fc.constantFrom("w1", "w2", "\xff\0id of a request"), weight: 1 },
);

export const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.constantFrom("put", "put", "remove", "context", "modify", "read", "sync", "sync", "forget"),
    replica: fc.nat({ max: REPLICAS - 1 }),
    choice: fc.nat({ max: 1_000 }),
    value,
    expiryMs: expiry,
    writeId,
    wallMs: fc.integer({ min: NOW_MS - 20, max: NOW_MS + 20 }),
  }),
  { minLength: 1, maxLength: 40 },
);

/** A write of the model, with every write that it had seen. */
interface Write {
  readonly dot: Dot;
  readonly writeId: string | null;
  readonly past: ReadonlySet<string>;
}

interface Replica {
  readonly storeId: string;
  readonly clock: HybridClock;
  epoch: number;
  sequence: number;
  record: Record | null;
  /** Writes of which it has heard. */
  known: ReadonlySet<string>;
}

export function keyOf(dot: Dot): string {
  return `${Buffer.from(dot.actor, "latin1").toString("hex")}:${dot.sequence}`;
}

export class History {
  readonly replicas: Replica[] = Array.from({ length: REPLICAS }, (_, index) => ({
    // Ids with high and low bytes, so that a comparison that is not bytewise shows.
    storeId: String.fromCharCode(255 - 80 * index).repeat(8),
    clock: new HybridClock({ maxClockSkewMs: 1_000, last: 0 }),
    epoch: 1,
    sequence: 0,
    record: null,
    known: new Set<string>(),
  }));
  readonly writes = new Map<string, Write>();
  /** Every record that ever stood on a replica. */
  readonly records: Record[] = [];
  readonly #reads: { context: VersionVector; known: ReadonlySet<string> }[] = [];

  static run(all: readonly Step[]): History {
    const history = new History();
    for (const step of all) history.apply(step);
    return history;
  }

  apply(step: Step): void {
    const replica = this.replicas[step.replica]!;
    const { record } = replica;
    switch (step.kind) {
      case "put":
      case "remove":
        this.#write(step, replica, COVERS_ALL, replica.known);
        break;
      case "context": {
        const read = this.#reads[step.choice % Math.max(1, this.#reads.length)];
        if (read !== undefined) this.#write(step, replica, { kind: "context", context: read.context }, read.known);
        break;
      }
      case "modify": {
        if (record === null) break;
        const { dot } = record.versions[step.choice % record.versions.length]!;
        const seen = new Set([...this.writes.get(keyOf(dot))!.past, keyOf(dot)]);
        this.#write(step, replica, { kind: "version", dot }, seen);
        break;
      }
      case "read":
        if (record !== null) this.#reads.push({ context: record.context, known: replica.known });
        break;
      case "sync": {
        const other = this.replicas[(step.replica + 1 + (step.choice % (REPLICAS - 1))) % REPLICAS]!;
        if (other.record === null) break;
        for (const { stamp } of other.record.versions) replica.clock.observe(stamp, step.wallMs);
        replica.record = record === null ? other.record : merge(record, other.record);
        replica.known = new Set([...replica.known, ...other.known]);
        this.records.push(replica.record);
        break;
      }
      case "forget":
        // A store that lost what it held goes on in a new epoch (design: Riak's "kv679" family).
        replica.record = null;
        replica.known = new Set();
        replica.epoch++;
        break;
    }
  }

  /** The writes that a replica knows and that none it knows has seen. */
  live(replica: Replica): Set<string> {
    const superseded = new Set([...replica.known].flatMap((key) => [...this.writes.get(key)!.past]));
    return new Set([...replica.known].filter((key) => !superseded.has(key)));
  }

  #write(step: Step, replica: Replica, covered: Covered, seen: ReadonlySet<string>): void {
    replica.sequence += 1 + (step.choice % 3) * 100;
    const dot: Dot = { actor: actorOf(replica.storeId, replica.epoch), sequence: replica.sequence };
    const isTombstone = step.kind === "remove";
    const version: Version = {
      dot,
      stamp: replica.clock.next(step.wallMs),
      expiryMs: isTombstone ? 0 : step.expiryMs,
      type: isTombstone ? "tombstone" : "string",
      value: isTombstone ? null : step.value,
      writeId: step.writeId,
      fields: step.choice % 5 === 0 ? [{ tag: 7, bytes: Uint8Array.of(step.choice & 255) }] : NO_FIELDS,
    };
    const live = [...this.live(replica)].map((key) => this.writes.get(key)!);
    const ids = new Set(live.filter((write) => seen.has(keyOf(write.dot))).map((write) => write.writeId));
    const twins = live.filter((write) => write.writeId !== null && ids.has(write.writeId));
    const past = new Set([...seen, ...twins.flatMap((write) => [keyOf(write.dot), ...write.past])]);
    this.writes.set(keyOf(dot), { dot, writeId: step.writeId, past });
    replica.record = supersede(replica.record, covered, version);
    // A context of this key also tells what was in it.
    const told = covered.kind === "context" ? seen : [];
    replica.known = new Set([...replica.known, ...told, keyOf(dot)]);
    this.records.push(replica.record);
  }
}

export const actor: fc.Arbitrary<Actor> = fc
  .tuple(
    fc.oneof(
      fc.constantFrom("\0\0\0\0\0\0\0\x01", "\xff".repeat(8)),
      fc.uint8Array({ minLength: 8, maxLength: 8 }).map(latin1),
    ),
    fc.oneof(fc.constantFrom(1, 2, 0xffff_ffff), fc.integer({ min: 1, max: 0xffff_ffff })),
  )
  .map(([storeId, epoch]) => actorOf(storeId, epoch));

export const dot: fc.Arbitrary<Dot> = fc.record({ actor, sequence: fc.oneof(fc.integer({ min: 1, max: 300 }), sequences()) });

export const vector: fc.Arbitrary<VersionVector> = fc.array(dot, { maxLength: 6 }).map((dots) => VersionVector.of(...dots));

/** Well-formed records, also such as no history brings about. */
export const anyRecord: fc.Arbitrary<Record> = fc
  .tuple(
    vector,
    fc.uniqueArray(
      fc.record({
        dot,
        stamp: fc.oneof(fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER), fc.maxSafeNat()),
        expiryMs: expiry,
        type: fc.constantFrom("string", "tombstone"),
        value: fc.option(value, { nil: null }),
        writeId,
        fields: fc.oneof(fc.constant(NO_FIELDS), fields()),
      }),
      { minLength: 1, maxLength: 4, selector: (version) => keyOf(version.dot) },
    ),
    fc.boolean(),
  )
  .map(([context, drafts, isBare]) => {
    const versions: Version[] = drafts
      .map(
        (draft): Version =>
          draft.type === "tombstone" ? { ...draft, type: "tombstone", value: null } : { ...draft, type: "string" },
      )
      .slice(0, isBare ? 1 : 4)
      .sort(newestFirst);
    return {
      context: (isBare ? VersionVector.EMPTY : context).join(VersionVector.of(...versions.map((v) => v.dot))),
      versions,
    };
  });

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

function sequences(): fc.Arbitrary<number> {
  return fc.maxSafeNat().map((sequence) => Math.min(sequence + 1, Number.MAX_SAFE_INTEGER - 1));
}

function fields(): fc.Arbitrary<Version["fields"]> {
  return fc
    .uniqueArray(fc.record({ tag: fc.nat({ max: 1_000 }), bytes: fc.uint8Array({ maxLength: 10 }) }), {
      maxLength: 3,
      selector: (field) => field.tag,
    })
    .map((list) => list.sort((a, b) => a.tag - b.tag));
}
