/**
 * The keys of a database as a whole, from any node of a ring: pages of them (SCAN, KEYS), how many there are, one at random.
 *
 * The promise of a page: a key that a read at this consistency would have found at any time from the first page to the last
 * is in one of them. Of each slot as many owners as the level reads from list what they hold; a key that they all list, and
 * have the same of, is as they say, and any other is read at the quorum. A page ends where the first of those that were asked
 * stopped, between two hashes, so the cursor is a slot and a hash, means the same on every node, and needs no state on any.
 *
 * What is held at a time is bounded: a page of each member that is asked (key-lister.ts). So that an empty ring of many members
 * does not cost a request for each stretch of slots, each step looks at twice as many stretches as the one before.
 */
import { SLOTS } from "../bytes/slot.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { Random } from "../host/random.js";
import { hashOfDataKey, rawKeyOf, slotOfDataKey } from "../replica/data-key.js";
import { HASHES } from "../replica/key-lister.js";
import {
  type Counts,
  decodeCounts,
  decodeKeysPage,
  encodeCountsRequest,
  encodeKeysRequest,
  type KeysPage,
  type ListedKey,
} from "../replica/key-messages.js";
import { AnswerStatus, ReplicaKind } from "../replica/replica-messages.js";
import { ALL_SLOTS, type SlotSpan } from "../replica/slot-spans.js";
import type { KeyPage, Scope } from "./keyspace.js";
import type { LocalKeyspace } from "./local-keyspace.js";
import { type OwnerAnswer, OwnersAsked, RingIsOlder } from "./owners-asked.js";
import type { QuorumContext } from "./quorum-context.js";
import type { QuorumRequests } from "./quorum-requests.js";

/** A page that took so long ends where it is. */
const PAGE_MS = 200;
/** Keys that are read at once because copies differ. */
const READS_TOGETHER = 32;
/** Pages and counts that are put together at once. Past it a request is refused with BUSY. */
const WALKING_MAX = 256;
/** A request begins anew at most so often because the ring changed. */
const ROUNDS_MAX = 3;
const RANDOM_TRIES = 16;
/** A random key of a slot is found by counting up to here. */
const RANK_MAX = 64;
const PAGE_KEYS = 1_024;

/** Where a page begins or ends. */
interface Place {
  readonly slot: number;
  readonly hash: number;
}

const END: Place = { slot: SLOTS, hash: 0 };

/** What owners say of one key. */
interface Mention {
  readonly key: ListedKey;
  count: number;
  isAgreed: boolean;
}

export class RingWalk {
  readonly #context: QuorumContext;
  readonly #local: LocalKeyspace;
  readonly #requests: QuorumRequests;
  readonly #random: Random;
  readonly #failures = new Map<MemberId, number>();
  #walking = 0;

  constructor(options: { context: QuorumContext; local: LocalKeyspace; requests: QuorumRequests; random: Random }) {
    this.#context = options.context;
    this.#local = options.local;
    this.#requests = options.requests;
    this.#random = options.random;
  }

  /** Live keys from `cursor` on, about `count` of them unless that takes long, and where the next page starts. */
  async page(scope: Scope, cursor: bigint, count: number): Promise<KeyPage> {
    const from = placeOf(cursor);
    const { keys, place } = await this.#pageFrom(scope, from, { count, end: SLOTS });
    return { keys, cursor: cursorOf(place) };
  }

  async keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]> {
    const keys: string[] = [];
    for (let place: Place = { slot, hash: 0 }; place.slot === slot && keys.length < count; ) {
      const page = await this.#pageFrom(scope, place, { count: count - keys.length, end: slot + 1 });
      keys.push(...page.keys);
      place = page.place;
    }
    return keys.slice(0, count);
  }

  /** Keys of these slots: exact where the copies agree, those that expired and are not collected yet included. */
  async count(scope: Scope, spans: readonly SlotSpan[] = ALL_SLOTS): Promise<number> {
    const answers = await this.#counts(scope, spans, 0);
    return answers.reduce((sum, { answer }) => sum + answer.keys, 0);
  }

  /** A live key, each about equally likely; null when there is none. */
  async randomKey(scope: Scope): Promise<string | null> {
    for (let attempt = 0; attempt < RANDOM_TRIES; attempt++) {
      const answers = await this.#counts(scope, ALL_SLOTS, Math.floor(this.#random.fraction() * HASHES));
      const total = answers.reduce((sum, { answer }) => sum + answer.keys, 0);
      if (total === 0) return null;
      let rest = Math.floor(this.#random.fraction() * total);
      const drawn = answers.find(({ answer }) => {
        rest -= answer.keys;
        return rest < 0;
      });
      const key = await this.#keyOfRank(scope, drawn!.answer, attempt);
      if (key !== null) return key;
    }
    // Nearly all is removed or expired: take the first that is not.
    for (let place: Place = { slot: 0, hash: 0 }; place.slot < SLOTS; ) {
      const page = await this.#pageFrom(scope, place, { count: PAGE_KEYS, end: SLOTS });
      if (page.keys.length > 0) return page.keys[0]!;
      place = page.place;
    }
    return null;
  }

  /** In a slot of many keys: one that follows a random hash. */
  async #keyOfRank(scope: Scope, { slot, rank }: Counts, attempt: number): Promise<string | null> {
    if (rank < RANK_MAX) {
      const keys = await this.keysInSlot(scope, slot, rank + 1);
      return keys[Math.min(rank, keys.length - 1)] ?? null;
    }
    const hash = Math.floor(this.#random.fraction() * HASHES);
    const page = await this.#pageFrom(scope, { slot, hash }, { count: 2 ** attempt, end: slot + 1 });
    return page.keys[0] ?? null;
  }

  // Counts.

  #counts(scope: Scope, spans: readonly SlotSpan[], draw: number): Promise<readonly OwnerAnswer<Counts>[]> {
    const { database } = scope;
    const { selfId, remote, plans } = this.#context;
    return this.#withRing(async () => {
      const version = plans.ring.document.version;
      const asked = new OwnersAsked<Counts>(this.#context, {
        needsIn: (plan) => plan.needs({ kind: "level", level: "ONE" }),
        what: "count",
        failures: this.#failures,
        deadlineMs: this.#local.deadlineMs(scope),
        ask: async (member, askedSpans, deadlineMs) => {
          const request = { database, draw, spans: askedSpans };
          if (member === selfId) return this.#local.lister.counts(request);
          const payload = encodeCountsRequest(version, request);
          const answer = await remote.ask(member, ReplicaKind.counts, payload, deadlineMs);
          return answer[0] === AnswerStatus.ok ? decodeCounts(answer) : null;
        },
      });
      return asked.ask(spans);
    });
  }

  // Pages.

  #pageFrom(
    scope: Scope,
    from: Place,
    bounds: { readonly count: number; readonly end: number },
  ): Promise<{ keys: string[]; place: Place }> {
    const { clock } = this.#context;
    return this.#withRing(async () => {
      const deadlineMs = this.#local.deadlineMs(scope);
      const untilMs = Math.min(deadlineMs, clock.monotonicMs() + PAGE_MS);
      const failures = this.#failures;
      const step = new PageStep(this.#context, { local: this.#local, scope, deadlineMs, failures });
      const keys: string[] = [];
      let place = from;
      for (let stretches = 1; place.slot < bounds.end; stretches *= 2) {
        const windowEnd = Math.min(bounds.end, step.endOf(place.slot, stretches));
        const found = await step.list(place, windowEnd, bounds.count - keys.length);
        const checked = await this.#check(scope, found.mentions, untilMs);
        for (const { dataKey } of checked.live) keys.push(rawKeyOf(dataKey));
        place = checked.stoppedAt ?? found.place;
        if (keys.length >= bounds.count || clock.monotonicMs() >= untilMs) break;
      }
      return { keys, place: place.slot >= bounds.end && bounds.end === SLOTS ? END : place };
    });
  }

  /** Which of the keys are live. Those whose copies differ are read; when that takes long it stops between two hashes. */
  async #check(
    scope: Scope,
    mentions: readonly Mention[],
    untilMs: number,
  ): Promise<{ live: readonly ListedKey[]; stoppedAt: Place | null }> {
    const { clock } = this.#context;
    const live: ListedKey[] = [];
    for (let at = 0; at < mentions.length; ) {
      const end = batchEnd(mentions, at);
      const isLive = await Promise.all(mentions.slice(at, end).map((mention) => this.#isLive(scope, mention)));
      for (let index = at; index < end; index++) if (isLive[index - at]) live.push(mentions[index]!.key);
      at = end;
      if (at < mentions.length && clock.monotonicMs() >= untilMs) return { live, stoppedAt: placeOfKey(mentions[at]!.key) };
    }
    return { live, stoppedAt: null };
  }

  async #isLive(scope: Scope, { key, isAgreed }: Mention): Promise<boolean> {
    const { clock, plans } = this.#context;
    if (isAgreed) return key.expiryMs === 0 || key.expiryMs > clock.wallMs();
    return new Promise((resolve, reject) => {
      this.#requests.startQuorumRead(plans.of(slotOfDataKey(key.dataKey)), scope, key.dataKey, {
        onRecord: (view) => resolve(view?.isLive(clock.wallMs()) ?? false),
        onFailure: reject,
      });
    });
  }

  /** Does it by the newest ring, and again where a member knows a newer one. */
  async #withRing<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#context.inFlight.requireRoom();
    if (this.#walking >= WALKING_MAX) throw new OperatingError("BUSY", `${WALKING_MAX} requests look at all keys already`);
    this.#walking++;
    try {
      for (let round = 1; ; round++) {
        try {
          return await work();
        } catch (error) {
          if (!(error instanceof RingIsOlder)) throw error;
          if (round > ROUNDS_MAX) throw new OperatingError("QUORUM", "members do not agree on the ring; try again");
          await this.#context.fetchRing(error.from);
        }
      }
    } finally {
      this.#walking--;
    }
  }
}

/** Asks owners for what they list, stretch by stretch. */
class PageStep {
  readonly #context: QuorumContext;
  readonly #asked: OwnersAsked<KeysPage>;
  #from: Place = END;
  #count = 1;

  constructor(
    context: QuorumContext,
    options: { local: LocalKeyspace; scope: Scope; deadlineMs: number; failures: Map<MemberId, number> },
  ) {
    const { local, scope, deadlineMs, failures } = options;
    const { selfId, remote, plans } = context;
    const { database, consistency } = scope;
    const ringVersion = plans.ring.document.version;
    this.#context = context;
    this.#asked = new OwnersAsked<KeysPage>(context, {
      needsIn: (plan) => plan.needs(consistency.quorum),
      what: "scan",
      deadlineMs,
      failures,
      ask: async (member, spans, patienceMs) => {
        const fromHash = spans[0]!.first === this.#from.slot ? this.#from.hash : 0;
        const request = { database, fromHash, count: this.#count, spans };
        if (member === selfId) return local.lister.page(request);
        const answer = await remote.ask(member, ReplicaKind.keys, encodeKeysRequest(ringVersion, request), patienceMs);
        return answer[0] === AnswerStatus.ok ? decodeKeysPage(answer) : null;
      },
    });
  }

  /** The end of so many stretches of slots from `slot` on; of each stretch the same members are asked. */
  endOf(slot: number, stretches: number): number {
    const { plans } = this.#context;
    const chosen = new Map<unknown, string>();
    let before: string | null = null;
    let left = stretches;
    for (let end = slot; end < SLOTS; end++) {
      const plan = plans.of(end);
      let members = chosen.get(plan);
      if (members === undefined) chosen.set(plan, (members = [...this.#asked.choose(plan)].sort().join()));
      if (members !== before && left-- === 0) return end;
      before = members;
    }
    return SLOTS;
  }

  /** What is known of the keys from `from` on, in their order, up to `place`, which is at most the first of slot `end`. */
  async list(from: Place, end: number, count: number): Promise<{ mentions: readonly Mention[]; place: Place }> {
    this.#from = from;
    this.#count = count;
    const answers = await this.#asked.ask([{ first: from.slot, end }]);
    let place: Place = { slot: end, hash: 0 };
    for (const { answer } of answers) if (isBefore(answer, place)) place = answer;
    const mentions = mentionsOf(answers, place);
    if (mentions.length <= count) return { mentions, place };
    // A page of about as many as were asked for, ending between two hashes.
    let kept = count;
    while (kept < mentions.length && isSamePlace(mentions[kept]!.key, mentions[kept - 1]!.key)) kept++;
    if (kept === mentions.length) return { mentions, place };
    return { mentions: mentions.slice(0, kept), place: placeOfKey(mentions[kept]!.key) };
  }
}

/** Who says what of the keys before `place`, in their order. */
function mentionsOf(answers: readonly OwnerAnswer<KeysPage>[], place: Place): Mention[] {
  const byKey = new Map<string, Mention>();
  for (const { answer } of answers) {
    for (const key of answer.keys) {
      if (!isBefore(placeOfKey(key), place)) break;
      const known = byKey.get(key.dataKey);
      if (known === undefined) byKey.set(key.dataKey, { key, count: 1, isAgreed: true });
      else {
        known.count++;
        known.isAgreed &&= key.high === known.key.high && key.low === known.key.low;
      }
    }
  }
  const mentions = [...byKey.values()].sort((a, b) => (a.key.dataKey < b.key.dataKey ? -1 : 1));
  let slot = -1;
  let asked = 0;
  for (const mention of mentions) {
    const slotOfKey = slotOfDataKey(mention.key.dataKey);
    if (slotOfKey !== slot) {
      slot = slotOfKey;
      asked = answers.filter(({ spans }) => spans.some(({ first, end }) => first <= slot && slot < end)).length;
    }
    // Who was asked and does not list it holds something else, or nothing.
    mention.isAgreed &&= mention.count === asked;
  }
  return mentions;
}

/** The end of a batch that begins at `at`: so many keys to be read, and the end of a hash. */
function batchEnd(mentions: readonly Mention[], at: number): number {
  let doubtful = 0;
  for (let end = at; end < mentions.length; end++) {
    if (doubtful >= READS_TOGETHER && !isSamePlace(mentions[end]!.key, mentions[end - 1]!.key)) return end;
    if (!mentions[end]!.isAgreed) doubtful++;
  }
  return mentions.length;
}

function placeOfKey({ dataKey }: ListedKey): Place {
  return { slot: slotOfDataKey(dataKey), hash: hashOfDataKey(dataKey) };
}

function isBefore(a: Place, b: Place): boolean {
  return a.slot < b.slot || (a.slot === b.slot && a.hash < b.hash);
}

function isSamePlace(a: ListedKey, b: ListedKey): boolean {
  return slotOfDataKey(a.dataKey) === slotOfDataKey(b.dataKey) && hashOfDataKey(a.dataKey) === hashOfDataKey(b.dataKey);
}

function placeOf(cursor: bigint): Place {
  return { slot: Number(cursor >> 32n), hash: Number(cursor & 0xffff_ffffn) };
}

/** 0 where everything has been told. */
function cursorOf({ slot, hash }: Place): bigint {
  return slot >= SLOTS ? 0n : (BigInt(slot) << 32n) | BigInt(hash);
}
