/**
 * Random histories on the replicas of a ring: writes of every kind, records sent in any order and any number of times, expiry,
 * reaping, crashes, copies given up and regained. Beside each replica stands what it should hold: the writes of which it has
 * heard that none it has heard of has seen.
 */
import { expect } from "chai";
import type { Dot } from "../../lib/causality/actor.js";
import { type Covered, hashOf, type Record } from "../../lib/causality/record.js";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import { OperatingError } from "../../lib/errors.js";
import { keyOf } from "../causality/histories.js";
import { bytes, type World } from "../model/world.js";
import { SimRandom } from "../sim/sim-random.js";
import { audited, dataKeyOf, decoded, member, put, receive, recordAt, remove, sent } from "./merging.js";

const SEEDS = 25;
const STEPS = 150;
const NAMES = ["a", "b", "{a}c"];
const IN_TIME = { isPast: false, error: () => new OperatingError("TIMEOUT", "it is not past") };

interface Member {
  world: World;
  /** By data key: the dots of which it has heard. */
  readonly known: Map<string, Set<string>>;
}

class Ring {
  readonly random: SimRandom;
  readonly members: Member[] = [];
  readonly keys: string[] = [];
  /** For each write the dots that it had seen. */
  readonly pasts = new Map<string, ReadonlySet<string>>();
  /** On their way: sent once, they may arrive late, often or never. */
  readonly mail: { key: string; record: Buffer; known: ReadonlySet<string> }[] = [];
  readonly counts = new Map<string, number>();
  #values = 0;

  constructor(seed: number) {
    this.random = new SimRandom(seed);
  }

  async run(): Promise<void> {
    for (let at = 1; at <= 3; at++) this.members.push({ world: await member(at), known: new Map() });
    for (const { world } of this.members) world.reaper.start();
    for (const name of NAMES) this.keys.push(dataKeyOf(this.members[0]!.world, name));
    for (let step = 0; step < STEPS; step++) await this.step();
    await this.heal();
  }

  async step(): Promise<void> {
    const { random } = this;
    const one = random.pick(this.members);
    const key = random.pick(this.keys);
    const kinds = ["put", "put", "remove", "modify", "context", "send", "send", "receive", "receive", "receive", "time"];
    const kind = random.chance(0.04) ? random.pick(["crash", "stop", "regain"]) : random.pick(kinds);
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    switch (kind) {
      case "put":
      case "remove":
        this.write(one, key, kind);
        break;
      case "modify":
        this.modify(one, key);
        break;
      case "context":
        this.writeWithContext(one, key);
        break;
      case "send": {
        const record = sent(one.world, key);
        if (record !== null) this.mail.push({ key, record, known: new Set(this.knownTo(one, key)) });
        break;
      }
      case "receive":
        await this.receive(one);
        break;
      case "time":
        for (const { world } of this.members) await world.clock.advance(random.below(120));
        break;
      case "regain":
        if (recordAt(one.world, key) === null) break;
        one.world.replica.remove(key);
        one.world.identity.beginEpoch();
        one.known.delete(key);
        break;
      default:
        await this.restart(one, kind);
    }
    for (const name of this.keys) this.compare(one, name);
  }

  knownTo(one: Member, key: string): Set<string> {
    let known = one.known.get(key);
    if (known === undefined) one.known.set(key, (known = new Set()));
    return known;
  }

  expiry(world: World): number {
    return this.random.chance(0.4) ? world.clock.wallMs() + this.random.pick([1, 50, 300, 5_000]) : 0;
  }

  /** Supersedes all that is there. */
  write(one: Member, key: string, kind: "put" | "remove"): void {
    const { world } = one;
    const known = this.knownTo(one, key);
    const seen = new Set(known);
    if (kind === "put") put(world, key, `v${++this.#values}`, this.expiry(world));
    else if (recordAt(world, key) === null) return;
    else remove(world, key);
    this.noteWrite(known, decoded(world, key)!.versions[0]!.dot, seen);
  }

  /** Supersedes the version that it was computed from. */
  modify(one: Member, key: string): void {
    const { world } = one;
    const record = decoded(world, key);
    if (record === null) return;
    const { dot } = record.versions[0]!;
    const seen = new Set([...this.pasts.get(keyOf(dot))!, keyOf(dot)]);
    world.replica.reserve(1);
    const value = this.random.chance(0.5) ? null : `v${++this.#values}`;
    recordAt(world, key);
    world.replica.mintOverNewest(key, value, value === null ? 0 : this.expiry(world));
    this.noteWrite(this.knownTo(one, key), this.freshDot(record, decoded(world, key)!), seen);
  }

  /** Supersedes what some record on its way has seen: exactly that, or, as a plain write, all that is here besides. */
  writeWithContext(one: Member, key: string): void {
    const { world } = one;
    const shown = this.mail.filter((each) => each.key === key).at(this.random.below(5) - 5);
    if (shown === undefined) return;
    const { context } = decodeRecord(shown.record);
    const isPlain = this.random.chance(0.5);
    const covered: Covered = isPlain ? { kind: "all", seen: context } : { kind: "context", context };
    const known = this.knownTo(one, key);
    const seen = new Set([...shown.known, ...(isPlain ? known : [])]);
    world.replica.goBeyond(context);
    world.replica.reserve(1);
    const before = decoded(world, key);
    const old = recordAt(world, key);
    world.replica.mint(key, old, covered, { value: bytes(`v${++this.#values}`), expiryMs: this.expiry(world) });
    for (const each of shown.known) known.add(each);
    this.noteWrite(known, this.freshDot(before, decoded(world, key)!), seen);
  }

  freshDot(before: Record | null, after: Record): Dot {
    const old = new Set(before?.versions.map(({ dot }) => keyOf(dot)));
    return after.versions.find(({ dot }) => !old.has(keyOf(dot)))!.dot;
  }

  noteWrite(known: Set<string>, dot: Dot, seen: ReadonlySet<string>): void {
    expect(this.pasts.has(keyOf(dot)), "a dot is given once").to.equal(false);
    this.pasts.set(keyOf(dot), seen);
    known.add(keyOf(dot));
  }

  async receive(one: Member): Promise<void> {
    const { world } = one;
    if (this.mail.length === 0) return;
    const { key, record, known } = this.random.pick(this.mail);
    const before = new Set(this.live(one, key));
    if (this.random.chance(0.3)) {
      Object.assign(world.store, { coldness: 1, readMsMax: 5 });
      await world.run(world.replica.mergeRead(key, record, 0, record.length, IN_TIME));
      world.store.coldness = 0;
    } else {
      const { uncoveredStamp } = receive(world, key, record);
      const { context } = decodeRecord(record);
      const unseen = decoded(world, key)!.versions.filter(({ dot }) => !context.covers(dot));
      expect(uncoveredStamp).to.equal(unseen[0]?.stamp ?? 0);
      expect(unseen.every(({ dot }) => before.has(keyOf(dot)))).to.equal(true);
    }
    for (const each of known) this.knownTo(one, key).add(each);
  }

  async restart(one: Member, kind: string): Promise<void> {
    const { world } = one;
    await world.run(world.reaper.stop());
    if (kind === "stop") await world.stop();
    else world.lsm.syncNow();
    one.world = await world.restart();
    one.world.replica.keepTombstones();
    one.world.reaper.start();
  }

  live(one: Member, key: string): string[] {
    const known = this.knownTo(one, key);
    const superseded = new Set([...known].flatMap((each) => [...this.pasts.get(each)!]));
    return [...known].filter((each) => !superseded.has(each));
  }

  compare(one: Member, key: string): void {
    const record = decoded(one.world, key);
    const dots = record?.versions.map(({ dot }) => keyOf(dot)) ?? [];
    expect(dots).to.have.members(this.live(one, key));
  }

  /** Everybody hears of everything, and all that expires does. */
  async heal(): Promise<void> {
    for (const { world } of this.members) await world.clock.advance(10_000);
    for (let round = 0; round < 2; round++) {
      for (const from of this.members) {
        for (const to of this.members) {
          for (const key of this.keys) {
            const record = sent(from.world, key);
            if (record === null) continue;
            receive(to.world, key, record);
            for (const each of this.knownTo(from, key)) this.knownTo(to, key).add(each);
          }
        }
      }
    }
    for (const { world } of this.members) {
      await world.clock.advance(70_000);
      await world.run(world.reaper.stop());
    }
    const [first] = this.members;
    for (const one of this.members) {
      for (const key of this.keys) {
        this.compare(one, key);
        const [mine, others] = [decoded(one.world, key), decoded(first!.world, key)];
        expect(mine === null).to.equal(others === null);
        if (mine !== null) expect(hashOf(mine)).to.deep.equal(hashOf(others!));
        if (mine !== null) expect(sent(one.world, key)).to.deep.equal(sent(first!.world, key));
      }
      const { replica } = one.world;
      const sizes = [replica.size(0), replica.expiringSize(0), replica.hiddenSize(0), replica.watched];
      const expected = [first!.world.replica.size(0), 0, first!.world.replica.hiddenSize(0), 0];
      expect(sizes).to.deep.equal(expected);
      expect(await audited(one.world)).to.deep.equal([]);
    }
  }
}

describe("replicas that merge what they are sent", () => {
  it(`hold exactly the concurrent writes they have heard of, and converge, for ${SEEDS} seeds`, async function () {
    this.timeout(60_000);
    const first = Number(process.env.CONVERGENCE_SEED ?? 1);
    const totals = new Map<string, number>();
    for (let seed = first; seed < first + SEEDS; seed++) {
      const ring = new Ring(seed);
      try {
        await ring.run();
      } catch (error) {
        throw new Error(`convergence seed ${seed}: ${(error as Error).stack}`, { cause: error });
      }
      for (const [name, count] of ring.counts) totals.set(name, (totals.get(name) ?? 0) + count);
    }
    for (const name of ["crash", "stop", "regain", "context", "modify"]) expect(totals.get(name), name).to.be.greaterThan(20);
  });
});
