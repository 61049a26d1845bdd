/**
 * A client whose every operation goes into the history, so that the checkers judge it: what scenarios and workloads use.
 * `try...` returns the operation whatever became of it; the plain forms throw unless it was answered.
 */
import { readContext } from "../../../lib/causality/record-format.js";
import type { VersionVector } from "../../../lib/causality/version-vector.js";
import type { CausalLedger } from "./causal-ledger.js";
import type { Centres, Level } from "./centres.js";
import { describeOperation, type History, type Needed, type Operation, type OperationStart } from "./history.js";
import type { Write } from "./key-history.js";
import { parseSiblings, type SiblingsReply, type SimClient, type WireReply } from "./sim-client.js";

/** What goes before a command; null: the connection's defaults. */
export interface LevelChoice {
  readonly level: Level;
  readonly standIns: "strict" | "sloppy";
}

export interface WorldClientOptions {
  readonly connection: SimClient;
  readonly history: History;
  readonly ledger: CausalLedger;
  readonly node: number;
  readonly name: string;
  readonly centres: Centres;
  /** There are nodes that may stand in for others; otherwise everything is strict. */
  readonly hasStandIns: boolean;
}

type Own = Pick<OperationStart, "name" | "key"> & Partial<Pick<OperationStart, "value" | "token">>;

/** Format and hashes before the cluster's id in a context token, and the MAC behind its vector. */
const TOKEN_HEAD_BYTES = 10;
const TOKEN_MAC_BYTES = 16;

export class WorldClient {
  readonly #options: WorldClientOptions;
  readonly #choice: LevelChoice | null;

  constructor(options: WorldClientOptions, choice: LevelChoice | null = null) {
    this.#options = options;
    this.#choice = choice;
  }

  /** The same connection, each command with these settings before it. */
  at(level: LevelChoice["level"], standIns: LevelChoice["standIns"] = "strict"): WorldClient {
    return new WorldClient(this.#options, { level, standIns });
  }

  tryGet(key: string): Promise<Operation> {
    return this.#one({ name: "get", key }, ["GET", key]);
  }

  trySet(key: string, value: string, ...options: readonly string[]): Promise<Operation> {
    return this.#one({ name: "set", key, value }, ["SET", key, value, ...options]);
  }

  trySetContext(key: string, value: string, token: string, form: "set" | "resolve" = "set"): Promise<Operation> {
    const args = form === "set" ? ["SET", key, value, "CONTEXT", token] : ["SIBLINGS", key, "RESOLVE", token, value];
    return this.#one({ name: "set context", key, value, token }, args);
  }

  trySetnx(key: string, value: string): Promise<Operation> {
    return this.#one({ name: "setnx", key, value }, ["SETNX", key, value]);
  }

  tryDel(key: string): Promise<Operation> {
    return this.#one({ name: "del", key }, ["DEL", key]);
  }

  tryIncr(key: string): Promise<Operation> {
    return this.#one({ name: "incr", key }, ["INCR", key]);
  }

  tryExpire(key: string, ms: number): Promise<Operation> {
    return this.#one({ name: "expire", key }, ["PEXPIRE", key, String(ms)]);
  }

  async trySiblings(key: string): Promise<Operation> {
    const operation = await this.#one({ name: "siblings", key }, ["SIBLINGS", key]);
    const { outcome } = operation;
    const found = outcome.kind === "answered" ? parseSiblings(outcome.reply) : null;
    if (found !== null) this.#options.ledger.show(key, found.context, vectorOf(found.context));
    return operation;
  }

  async tryMset(pairs: readonly (readonly [key: string, value: string])[]): Promise<readonly Operation[]> {
    const starts = pairs.map(([key, value]): Own => ({ name: "set", key, value }));
    return this.#run(starts, ["MSET", ...pairs.flat()], (reply) => pairs.map(() => reply));
  }

  async tryMget(keys: readonly string[]): Promise<readonly Operation[]> {
    const starts = keys.map((key): Own => ({ name: "get", key }));
    return this.#run(starts, ["MGET", ...keys], (reply) => reply as readonly WireReply[]);
  }

  async get(key: string): Promise<WireReply> {
    return answerOf(await this.tryGet(key));
  }

  async set(key: string, value: string, ...options: readonly string[]): Promise<WireReply> {
    return answerOf(await this.trySet(key, value, ...options));
  }

  async setContext(key: string, value: string, token: string): Promise<WireReply> {
    return answerOf(await this.trySetContext(key, value, token));
  }

  async del(key: string): Promise<WireReply> {
    return answerOf(await this.tryDel(key));
  }

  async incr(key: string): Promise<WireReply> {
    return answerOf(await this.tryIncr(key));
  }

  /** Null where the key never existed. */
  async siblings(key: string): Promise<SiblingsReply | null> {
    return parseSiblings(answerOf(await this.trySiblings(key)));
  }

  /** A section of INFO. */
  async info(section: string): Promise<string> {
    const outcome = await this.#options.connection.request(["INFO", section]);
    if (outcome.kind !== "answered") throw new Error(`INFO ${section} was not answered`);
    return String(outcome.reply);
  }

  async #one(start: Own, args: readonly string[]): Promise<Operation> {
    const [operation] = await this.#run([start], args, (reply) => [reply]);
    return operation!;
  }

  async #run(
    starts: readonly Own[],
    args: readonly string[],
    split: (reply: WireReply) => readonly WireReply[],
  ): Promise<readonly Operation[]> {
    const { history, connection, node, name: client } = this.#options;
    const needed = this.#needed();
    const operations = starts.map((start) => history.begin({ value: null, token: null, ...start, client, node, needed }));
    const outcome = await connection.request([...this.#prefix(), ...args]);
    const replies = outcome.kind === "answered" ? split(outcome.reply) : [];
    for (const [at, operation] of operations.entries())
      history.end(operation, outcome.kind === "answered" ? { kind: "answered", reply: replies[at]! } : outcome);
    return operations;
  }

  #prefix(): readonly string[] {
    return this.#choice === null ? [] : ["CONSISTENCY", this.#choice.level, this.#choice.standIns.toUpperCase()];
  }

  #needed(): Needed {
    const { centres, node, hasStandIns } = this.#options;
    const { level, standIns } = this.#choice ?? { level: "LOCAL_QUORUM", standIns: "sloppy" };
    return { ...centres.needed(level, node), standIns: hasStandIns ? standIns : "strict" };
  }
}

/** The vector in a context token. Its MAC is the node's business. */
export function vectorOf(token: string): VersionVector {
  const bytes = Buffer.from(token, "base64url");
  return readContext(bytes, { at: TOKEN_HEAD_BYTES + bytes[TOKEN_HEAD_BYTES - 1]! }, bytes.length - TOKEN_MAC_BYTES);
}

/** The writes that a SIBLINGS was shown; none where there was nothing. */
export function shownBy(ledger: CausalLedger, operation: Operation): ReadonlySet<Write> {
  const { outcome, key } = operation;
  const found = outcome.kind === "answered" ? parseSiblings(outcome.reply) : null;
  return found === null ? new Set() : ledger.show(key, found.context, vectorOf(found.context));
}

function answerOf(operation: Operation): WireReply {
  if (operation.outcome.kind !== "answered") throw new Error(describeOperation(operation));
  return operation.outcome.reply;
}
