/**
 * How a node that knows no ring comes by one: it asks its seeds until one of them knows a ring. Where it is the first of its
 * own seeds (the first pod of a set that all have the same list) and none of the others knows one, it is to found it.
 */
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import { PeerCallError, PeerRefusal } from "../peer/peer.js";
import type { MemberId } from "./member.js";
import type { MemberAddress } from "./member-entry.js";
import type { MemberLinks } from "./member-links.js";
import { Rest } from "./rest.js";
import type { RingDocument } from "./ring-document.js";

export interface RingSearchOptions {
  readonly links: MemberLinks;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** At least one. */
  readonly seeds: readonly MemberAddress[];
  /** What others are told of us: needs no dialling to know that it is this node. */
  readonly ownAddress: MemberAddress;
}

export type SearchOutcome =
  | { readonly kind: "ring"; readonly document: RingDocument; readonly from: MemberId }
  | { readonly kind: "found one" };

type SeedAnswer =
  | { readonly kind: "ring"; readonly document: RingDocument; readonly from: MemberId }
  /** It is this node. */
  | { readonly kind: "self" }
  /** `refused`: it is there and will not have this node. */
  | { readonly kind: "unknown" | "refused" | "unreachable"; readonly why: string };

const FETCH_MS_MAX = 2_000;
const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 3_000;
/** Nodes that start together need not say that they wait for each other. */
const SILENT_MS = 1_000;
const KNOWS_NONE = "it knows no ring yet";

export class RingSearch {
  readonly #options: RingSearchOptions;
  readonly #rest: Rest;
  #isStopped = false;
  #said = "";

  constructor(options: RingSearchOptions) {
    this.#options = options;
    this.#rest = new Rest(options.clock);
  }

  /** Ends with an outcome, however long that takes. Rejects with CLOSED when it was stopped. */
  async run(): Promise<SearchOutcome> {
    const { random, seeds, clock } = this.#options;
    const sinceMs = clock.monotonicMs();
    for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
      const asked = seeds.map((seed) => this.#ask(seed));
      const found = await firstThat(asked, (answer) => answer.kind === "ring");
      if (this.#isStopped) throw new OperatingError("CLOSED", "this node stopped before it knew a ring");
      if (found !== null && found.kind === "ring") return found;
      const answers = await Promise.all(asked);
      // Who is there but refuses may know a ring: founding another one beside it would part the cluster.
      if (answers[0]!.kind === "self" && answers.every((answer) => answer.kind !== "refused")) return { kind: "found one" };
      if (clock.monotonicMs() - sinceMs >= SILENT_MS) this.#say(answers);
      await this.#rest.take(pauseMs * (0.5 + random.fraction()));
    }
  }

  /** Why it waits, once it has waited for a while; empty before. */
  get said(): string {
    return this.#said;
  }

  stop(): void {
    this.#isStopped = true;
    this.#rest.wake();
  }

  async #ask(seed: MemberAddress): Promise<SeedAnswer> {
    const { links, clock, ownAddress } = this.#options;
    if (seed.host === ownAddress.host && seed.port === ownAddress.port) return { kind: "self" };
    try {
      const from = await links.meet(seed);
      const document = await links.fetchRing(from, 0, clock.monotonicMs() + FETCH_MS_MAX);
      if (document !== null && document.members.length > 0) return { kind: "ring", document, from };
      return { kind: "unknown", why: KNOWS_NONE };
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      if (error instanceof PeerRefusal) {
        return error.reason === "self" ? { kind: "self" } : { kind: "refused", why: messageOf(error) };
      }
      if (error instanceof PeerCallError && error.failure === "FAILED") return { kind: "unknown", why: KNOWS_NONE };
      return { kind: "unreachable", why: messageOf(error) };
    }
  }

  /** Logs why it waits, once until that changes. */
  #say(answers: readonly SeedAnswer[]): void {
    const { seeds, log } = this.#options;
    const reasons = answers.map((answer, at) => {
      const { host, port } = seeds[at]!;
      if (answer.kind === "self") return `${host}:${port} is this node itself`;
      // What the links say names the address.
      return answer.kind === "unknown" ? `${host}:${port}: ${answer.why}` : answer.kind === "ring" ? "" : answer.why;
    });
    const isNobodyFirst = answers.every((answer) => answer.kind === "self" || answer.kind === "unknown");
    const advice = isNobodyFirst ? "; one node must found the ring: start it without --seeds, or as the first of its own" : "";
    const said = `waiting for a ring to join (${reasons.join("; ")})${advice}`;
    if (said === this.#said) return;
    this.#said = said;
    log.warn({ seeds: seeds.length }, said);
  }
}

/** The first of these to come that is so; null when all have come and none is. */
function firstThat<Value>(all: readonly Promise<Value>[], isSo: (value: Value) => boolean): Promise<Value | null> {
  return new Promise((resolve) => {
    const watch = async (one: Promise<Value>): Promise<void> => {
      const value = await one;
      if (isSo(value)) resolve(value);
    };
    background(Promise.all(all.map(watch)).then(() => resolve(null)));
  });
}
