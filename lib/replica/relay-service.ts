/**
 * Passes writes of another data centre on to the other members of this one that are to have them, and reports what became of
 * them at each: docs/FORMATS.md, "RELAY".
 *
 * What a member of a batch has to look at its disk for is asked of it once more from here, alone, so that the record does not
 * cross the link between the data centres again. Nothing is kept for who does not answer: its sender is told, and sees to that.
 *
 * INVARIANT: each question after a target is answered once: with what the target answered, or, when that is not to be expected
 * any more, with a failure; at the deadline of the relay at the latest.
 */
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { PeerRequest, Peers, RefusalCode } from "../peer/peer.js";
import { answerLength, BatchAnswers, BatchReader } from "./call-batch.js";
import type { Answered } from "./durable-answer.js";
import type { MemberHealth } from "./member-health.js";
import { decodeRelay, decodeRelayed } from "./relay-messages.js";
import type { MemberCall, RemoteReplicas } from "./remote-replicas.js";
import { ReplicaKind, ReplicaKindSince } from "./replica-messages.js";
import type { ReplicaService } from "./replica-service.js";
import type { StoringRequest } from "./room-queue.js";

export interface RelayServiceOptions {
  readonly peers: Pick<Peers, "serve">;
  readonly remote: Pick<RemoteReplicas, "send">;
  /** This member's own part. */
  readonly service: Pick<ReplicaService, "batch" | "store">;
  readonly health: Pick<MemberHealth, "isPrompt">;
  readonly clock: Clock;
}

/** A target that is silent is given up after so long: who waits for it here has to see to a stand-in. */
const PATIENCE_MS = 100;
const LOOK_MS = 25;
/** Relays whose outcomes are not all fetched. Past it they are refused. */
const RELAYS_MAX = 16_384;
const NO_ANSWER = Buffer.alloc(0);

export class RelayService {
  readonly #options: RelayServiceOptions;
  /** By sender and number. */
  readonly #relays = new Map<string, Relay>();
  /** Parts that somebody waits for. */
  readonly #waiting = new Set<{ readonly part: Part; readonly relay: Relay }>();
  #isLooking = false;
  /** Batches that were passed on. */
  relayed = 0;

  constructor(options: RelayServiceOptions) {
    this.#options = options;
  }

  serve(): void {
    const { peers } = this.#options;
    peers.serve(ReplicaKind.relay, (request) => this.#onRelay(request), ReplicaKindSince.relay);
    peers.serve(ReplicaKind.relayed, (request) => this.#onRelayed(request), ReplicaKindSince.relayed);
  }

  #onRelay(request: PeerRequest): void {
    const { number, targets, batch: borrowed } = decodeRelay(request.payload);
    if (this.#relays.size >= RELAYS_MAX) return request.refuse("BUSY", "too many writes are passed on here already");
    const { remote, service, clock } = this.#options;
    const batch = Buffer.from(borrowed);
    const { deadlineMs } = request;
    const parts = targets.map((target) => new Part(target));
    const relay = { parts, deadlineMs, beganMs: clock.monotonicMs() };
    this.#relays.set(keyOf(request.from, number), relay);
    this.relayed++;
    for (const part of parts) {
      const sender = (kind: number, payload: Buffer, told: Told): void =>
        remote.send(new RelayCall({ to: part.target, kind, deadlineMs }, told), payload);
      runBatch(batch, sender, part);
    }
    const own = (kind: number, payload: Buffer, told: Told): void => {
      const asked = new OwnRequest(payload, { deadlineMs, clock, told });
      if (kind === ReplicaKind.batch) return service.batch(payload, asked);
      try {
        service.store(asked);
      } catch (error) {
        if (!(error instanceof OperatingError) || asked.isAnswered) throw error;
        told.failed(messageOf(error));
      }
    };
    runBatch(batch, own, { done: (answer) => request.answer(answer), failed: (text) => request.refuse("FAILED", text) });
    this.#lookSoon();
  }

  #onRelayed(request: PeerRequest): void {
    const { number, target } = decodeRelayed(request.payload);
    const key = keyOf(request.from, number);
    const relay = this.#relays.get(key);
    const part = relay?.parts[target];
    if (relay === undefined || part === undefined || part.isFetched)
      return request.refuse("FAILED", "nothing is known of this relay here");
    part.fetch(request);
    if (relay.parts.every(({ isFetched }) => isFetched)) this.#relays.delete(key);
    // What is waited for is looked after, whoever holds it.
    if (!part.isOver) this.#waiting.add({ part, relay });
  }

  #lookSoon(): void {
    if (this.#isLooking) return;
    this.#isLooking = true;
    this.#options.clock.after(LOOK_MS, () => this.#look());
  }

  #look(): void {
    const { clock, health } = this.#options;
    const nowMs = clock.monotonicMs();
    for (const waiting of this.#waiting) {
      const { part, relay } = waiting;
      const isSilent = nowMs - relay.beganMs >= PATIENCE_MS && !health.isPrompt(part.target);
      if (!part.isOver && (isSilent || nowMs >= relay.deadlineMs)) part.failed("it does not answer");
      if (part.isOver) this.#waiting.delete(waiting);
    }
    // Whose sender has gone will not be asked after.
    for (const [key, { deadlineMs }] of this.#relays) if (nowMs >= deadlineMs) this.#relays.delete(key);
    this.#isLooking = false;
    if (this.#waiting.size > 0 || this.#relays.size > 0) this.#lookSoon();
  }
}

interface Relay {
  readonly parts: readonly Part[];
  /** Monotonic. */
  readonly deadlineMs: number;
  readonly beganMs: number;
}

function keyOf(from: MemberId, number: number): string {
  return `${from} ${number}`;
}

/** What became of a request. */
interface Told {
  done(answer: Buffer): void;
  failed(text: string): void;
}

/** What became of a relay at one target, and who asks after it. */
class Part implements Told {
  readonly target: MemberId;
  #answer: Buffer | null = null;
  #failure: string | null = null;
  #request: PeerRequest | null = null;

  constructor(target: MemberId) {
    this.target = target;
  }

  get isOver(): boolean {
    return this.#answer !== null || this.#failure !== null;
  }

  get isFetched(): boolean {
    return this.#request !== null;
  }

  fetch(request: PeerRequest): void {
    this.#request = request;
    this.#tell();
  }

  done(answer: Buffer): void {
    if (this.isOver) return;
    this.#answer = answer;
    this.#tell();
  }

  failed(text: string): void {
    if (this.isOver) return;
    this.#failure = text;
    this.#tell();
  }

  #tell(): void {
    const request = this.#request;
    if (request === null) return;
    if (this.#answer !== null) request.answer(this.#answer);
    else if (this.#failure !== null) request.refuse("FAILED", this.#failure);
  }
}

/** Has a member (this one, too) do what a batch says, by `ask`; what it does not do at once is asked for alone. */
function runBatch(batch: Buffer, ask: (kind: number, payload: Buffer, told: Told) => void, told: Told): void {
  ask(ReplicaKind.batch, batch, {
    failed: (text) => told.failed(text),
    done: (answer) => {
      const answers = splitAnswers(answer);
      const calls = new BatchReader(batch);
      const alone: { readonly at: number; readonly payload: Buffer }[] = [];
      for (let at = 0; calls.next(); at++) {
        answers[at] ??= NO_ANSWER;
        if (answers[at]!.length === 0) alone.push({ at, payload: batch.subarray(calls.start, calls.end) });
      }
      let missing = 0;
      const settle = (): void => {
        if (missing === 0) told.done(joinAnswers(answers));
      };
      if (alone.length === 0) return told.done(answer);
      missing = alone.length;
      for (const { at, payload } of alone) {
        ask(ReplicaKind.store, payload, {
          done: (one) => {
            answers[at] = one;
            missing--;
            settle();
          },
          // Whoever sent it asks once more, and is told why.
          failed: () => {
            missing--;
            settle();
          },
        });
      }
    },
  });
}

/** The answers to a batch, as far as it is whole. */
function splitAnswers(answer: Buffer): Buffer[] {
  const answers: Buffer[] = [];
  const cursor = { at: 0 };
  while (cursor.at < answer.length) {
    const length = answerLength(answer, cursor);
    if (length === null) break;
    answers.push(answer.subarray(cursor.at, cursor.at + length));
    cursor.at += length;
  }
  return answers;
}

function joinAnswers(answers: readonly Buffer[]): Buffer {
  const joined = new BatchAnswers();
  for (const answer of answers) {
    if (answer.length === 0) joined.addAlone();
    else joined.add(answer);
  }
  return joined.take();
}

/** A call to a target. */
class RelayCall implements MemberCall {
  readonly to: MemberId;
  readonly kind: number;
  readonly deadlineMs: number;
  readonly #told: Told;

  constructor(head: { to: MemberId; kind: number; deadlineMs: number }, told: Told) {
    this.to = head.to;
    this.kind = head.kind;
    this.deadlineMs = head.deadlineMs;
    this.#told = told;
  }

  onAnswer(payload: Buffer): void {
    this.#told.done(Buffer.from(payload));
  }

  onFailure(code: string, text: string): void {
    this.#told.failed(text === "" ? code : text);
  }
}

/** A request of this member's own part. */
class OwnRequest implements StoringRequest, Answered {
  payload: Buffer;
  readonly isNotice = false;
  isAnswered = false;
  readonly #deadlineMs: number;
  readonly #clock: Clock;
  readonly #told: Told;

  constructor(payload: Buffer, options: { deadlineMs: number; clock: Clock; told: Told }) {
    this.payload = payload;
    this.#deadlineMs = options.deadlineMs;
    this.#clock = options.clock;
    this.#told = options.told;
  }

  isLate(): boolean {
    return this.#clock.monotonicMs() >= this.#deadlineMs;
  }

  answer(payload: Uint8Array): void {
    this.isAnswered = true;
    this.#told.done(Buffer.from(payload));
  }

  refuse(code: RefusalCode, text = ""): void {
    this.isAnswered = true;
    this.#told.failed(text === "" ? code : text);
  }
}
