/**
 * Writes under load, and what a server must still know of them after it was killed. Each key has one writer, which waits
 * for each answer, so the states of a key are in order: after a restart it is in the state of the last acknowledged write
 * or of a later one that was sent. Values carry their key and number, so a wrong one is never taken for a right one.
 */
import { WireClient, type WireReply } from "./wire-client.js";

export interface LoadShape {
  readonly connections: number;
  /** Writers of each connection: the depth of its pipeline. */
  readonly writers: number;
  readonly keysPerWriter: number;
}

/** What was found after a restart. */
export interface Verdict {
  /** Acknowledged writes of the last run. */
  readonly acknowledged: number;
  /** Acknowledged writes that are gone, whether or not they may be. */
  readonly lost: number;
  /** Keys in a state that they may not be in; empty when all is well. */
  readonly violations: readonly string[];
}

interface Try {
  readonly number: number;
  /** On performance.now's clock; null while the answer is open. */
  acknowledgedMs: number | null;
}

/** Each so-manieth write of a key removes it. */
const REMOVE_EVERY = 7;
/** Each so-manieth write of a writer increments its counter. */
const COUNT_EVERY = 16;
const PAD_BYTES_MAX = 700;
const READ_BATCH = 500;

export class WriteHistory {
  readonly #shape: LoadShape;
  readonly #keys = new Map<string, KeyHistory>();
  readonly #counters = new Map<string, CounterHistory>();
  /** Replies to writes that were neither an acknowledgement nor the end of the connection. */
  readonly unexpected: WireReply[] = [];
  #acknowledged = 0;

  constructor(shape: LoadShape) {
    this.#shape = shape;
  }

  /** Acknowledged writes since the last `verify`. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Writes until the server is gone; the inner promise resolves then. */
  async start(port: number): Promise<{ readonly ended: Promise<unknown> }> {
    const { connections, writers } = this.#shape;
    const clients = await Promise.all(Array.from({ length: connections }, () => WireClient.connect(port)));
    const running = clients.flatMap((client, at) =>
      Array.from({ length: writers }, (_, writer) => this.#write(client, `${at}.${writer}`)),
    );
    return { ended: Promise.all(running) };
  }

  /**
   * Reads everything back. Writes acknowledged up to `durableMs` must be there, later ones may; what is there becomes what
   * the next run builds on.
   */
  async verify(client: WireClient, durableMs: number): Promise<Verdict> {
    const violations: string[] = [];
    let lost = 0;
    const check = (key: string, history: KeyHistory | CounterHistory, value: WireReply): void => {
      const outcome = history.settle(value, durableMs);
      lost += outcome.lost;
      if (outcome.violation !== null) violations.push(`${key}: ${outcome.violation}`);
    };
    for (const map of [this.#keys, this.#counters]) {
      const entries = [...map];
      for (let at = 0; at < entries.length; at += READ_BATCH) {
        const batch = entries.slice(at, at + READ_BATCH);
        const values = (await client.call("MGET", ...batch.map(([key]) => key))) as readonly WireReply[];
        for (const [place, [key, history]] of batch.entries()) check(key, history, values[place]!);
      }
    }
    const acknowledged = this.#acknowledged;
    this.#acknowledged = 0;
    return { acknowledged, lost, violations };
  }

  async #write(client: WireClient, writer: string): Promise<void> {
    for (let turn = 0; ; turn++) {
      const isAlive = turn % COUNT_EVERY === 0 ? await this.#count(client, writer) : await this.#set(client, writer, turn);
      if (!isAlive) return;
      this.#acknowledged++;
    }
  }

  async #set(client: WireClient, writer: string, turn: number): Promise<boolean> {
    const key = `key:${writer}:${turn % this.#shape.keysPerWriter}`;
    let history = this.#keys.get(key);
    if (history === undefined) this.#keys.set(key, (history = new KeyHistory(key)));
    const attempt = history.begin();
    const { number } = attempt;
    const reply = await (isRemoval(number) ? client.send("DEL", key) : client.send("SET", key, valueText(key, number))).catch(
      gone,
    );
    if (reply === null) return false;
    if (reply === "OK" || typeof reply === "number") attempt.acknowledgedMs = performance.now();
    else this.unexpected.push(reply);
    return true;
  }

  async #count(client: WireClient, writer: string): Promise<boolean> {
    const key = `counter:${writer}`;
    let history = this.#counters.get(key);
    if (history === undefined) this.#counters.set(key, (history = new CounterHistory()));
    const attempt = history.begin();
    const reply = await client.send("INCR", key).catch(gone);
    if (reply === null) return false;
    if (reply === attempt.number) attempt.acknowledgedMs = performance.now();
    else this.unexpected.push(reply);
    return true;
  }
}

interface Outcome {
  readonly lost: number;
  readonly violation: string | null;
}

/** One key: the number of the state known to be stored, and the writes tried since. */
class KeyHistory {
  readonly #key: string;
  #base: Try = { number: 0, acknowledgedMs: 0 };
  #tries: Try[] = [];
  #next = 1;

  constructor(key: string) {
    this.#key = key;
  }

  begin(): Try {
    const attempt: Try = { number: this.#next++, acknowledgedMs: null };
    this.#tries.push(attempt);
    return attempt;
  }

  settle(value: WireReply, durableMs: number): Outcome {
    const states = [this.#base, ...this.#tries];
    const found = states.findLastIndex(({ number }) => stateOf(this.#key, number) === value);
    const due = states.findLastIndex((state) => isDue(state, durableMs));
    const lastAcknowledged = states.findLastIndex(({ acknowledgedMs }) => acknowledgedMs !== null);
    if (found >= 0) {
      this.#base = { number: states[found]!.number, acknowledgedMs: 0 };
      this.#tries = [];
    }
    if (found < 0) return { lost: 0, violation: `holds ${JSON.stringify(value)?.slice(0, 60)}, which nobody wrote lately` };
    const isLate = found < due;
    return {
      lost: Math.max(0, lastAcknowledged - found),
      violation: isLate ? `is in state ${states[found]!.number}, but ${states[due]!.number} was durable` : null,
    };
  }
}

/** A counter: as many as were acknowledged and at most as many as were sent. */
class CounterHistory {
  #base = 0;
  #tries: Try[] = [];

  begin(): Try {
    const attempt: Try = { number: this.#base + this.#tries.length + 1, acknowledgedMs: null };
    this.#tries.push(attempt);
    return attempt;
  }

  settle(value: WireReply, durableMs: number): Outcome {
    const states = [{ number: this.#base, acknowledgedMs: 0 }, ...this.#tries];
    const count = value === null ? 0 : Number(value);
    const due = states.findLast((state) => isDue(state, durableMs))!.number;
    const acknowledged = states.findLast(({ acknowledgedMs }) => acknowledgedMs !== null)!.number;
    const sent = states.at(-1)!.number;
    this.#base = count;
    this.#tries = [];
    const isRight = count >= due && count <= sent;
    return {
      lost: Math.max(0, acknowledged - count),
      violation: isRight ? null : `counts ${count}, with ${due} durable and ${sent} sent`,
    };
  }
}

function isDue({ acknowledgedMs }: Try, durableMs: number): boolean {
  return acknowledgedMs !== null && acknowledgedMs <= durableMs;
}

function isRemoval(number: number): boolean {
  return number % REMOVE_EVERY === 0;
}

function stateOf(key: string, number: number): string | null {
  return isRemoval(number) ? null : valueText(key, number);
}

function valueText(key: string, number: number): string {
  return `${key}=${number};${"v".repeat((number * 131) % PAD_BYTES_MAX)}`;
}

function gone(): null {
  return null;
}
