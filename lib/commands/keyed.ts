/**
 * Runs the part of a command that meets the keyspace, so that each command is written once: first within the call, from
 * memory; where that cannot be, later, with copied arguments. Operations are always started before the call returns, in
 * the order of the keys, so that a later request of the connection never overtakes an earlier one on the same key.
 */
import { type Effect, type Entry, KEEP, NOT_IN_MEMORY, type Scope, type Sink, STARTED } from "../coordinator/keyspace.js";
import type { Call, DeferredReply } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { type Answer, NULL, writeAnswer } from "./answer.js";
import type { ClientSession } from "./client-session.js";
import type { CommandContext } from "./command.js";

/** What to do with a key and what to say once that is done. */
export interface Decision {
  readonly effect: Effect;
  readonly answer: Answer;
}

/**
 * Decides on a key's live entry. Pure. `args` are the call's, and stay valid for as long as the effect needs them; bytes
 * of `call.args` must not be captured instead.
 */
export type Decide = (entry: Entry | null, args: readonly Buffer[]) => Decision;

/** An answer that leaves the key as it is. */
export function keep(answer: Answer): Decision {
  return { effect: KEEP, answer };
}

export function put(value: string | Uint8Array, expiryMs: number, answer: Answer): Decision {
  return { effect: { kind: "put", value, expiryMs }, answer };
}

/** Reads, changes and answers for the one key at `args[1]`. */
export function updateKey(context: CommandContext, call: Call<ClientSession>, decide: Decide): void {
  const { keyspace, routing } = context;
  const { scope } = call.session;
  if (routing?.isElsewhere(scope, call.args[1]!)) {
    call.later(async (reply, args) => {
      const targets = [{ scope, key: args[1]! }];
      reply.raw(await routing.forward({ args, targets, protocol: reply.protocol, scope, repeats: "known by its id" }));
    });
    return;
  }
  const update = new Update(decide, call.args);
  if (keyspace.tryUpdate(scope, call.args[1]!, update.apply)) {
    writeAnswer(call.reply, update.answer);
    return;
  }
  call.later(async (reply, args) => {
    update.args = args;
    await keyspace.update(scope, args[1]!, update.apply);
    writeAnswer(reply, update.answer);
  });
}

/** A key with the scope it is looked up in. */
export interface Target {
  readonly scope: Scope;
  readonly key: Uint8Array;
}

/** One step over several keys. `decide` is pure; it returns an effect for each target, in their order. */
export interface JointUpdate {
  /** Distinct. */
  readonly targets: readonly Target[];
  readonly decide: (entries: readonly (Entry | null)[]) => { readonly effects: readonly Effect[]; readonly answer: Answer };
}

/** Reads, changes and answers for several keys as one step on this node. `plan` is given the copied arguments. */
export function updateKeys(
  context: CommandContext,
  call: Call<ClientSession>,
  plan: (args: readonly Buffer[]) => JointUpdate,
): void {
  const { keyspace, routing } = context;
  const { scope: ownScope } = call.session;
  call.later(async (reply, args) => {
    const { targets, decide } = plan(args);
    if (routing?.areElsewhere(targets)) {
      const { protocol } = reply;
      // Run twice, it would find some of its keys changed.
      reply.raw(await routing.forward({ args, targets, protocol, scope: ownScope, repeats: "once at most" }));
      return;
    }
    const decided: { answer: Answer } = { answer: NULL };
    const scopes = targets.map(({ scope }) => scope);
    const keys = targets.map(({ key }) => key);
    await keyspace.updateMany(scopes, keys, (entries) => {
      const { effects, answer } = decide(entries);
      decided.answer = answer;
      return effects;
    });
    writeAnswer(reply, decided.answer);
  });
}

/** Stores `args[valueAt]` under `args[1]`, whatever is there, and answers OK. */
export function putKey(context: CommandContext, call: Call<ClientSession>, valueAt: number, expiryMs: number): void {
  const { keyspace } = context;
  const { scope } = call.session;
  const later = new Later<void>(answerOk);
  const start = keyspace.startPut(scope, call.args[1]!, call.args[valueAt]!, expiryMs, later);
  if (start === "done") return call.reply.ok();
  if (start === STARTED) return later.begin(call.defer());
  call.later(async (reply, args) => {
    await keyspace.put(scope, args[1]!, args[valueAt]!, expiryMs);
    reply.ok();
  });
}

/** Writes exactly one value. */
export type AnswerEntry = (reply: Reply, entry: Entry | null) => void;

/** Answers from the live entry of the key at `args[keyAt]`. */
export function readKey(context: CommandContext, call: Call<ClientSession>, answer: AnswerEntry, keyAt = 1): void {
  const later = new Later<Entry | null>(answer);
  const entry = context.keyspace.startRead(call.session.scope, call.args[keyAt]!, later);
  if (entry === NOT_IN_MEMORY) readKeyLater(context, call, answer, keyAt);
  else if (entry === STARTED) later.begin(call.defer());
  else answer(call.reply, entry);
}

function readKeyLater(context: CommandContext, call: Call<ClientSession>, answer: AnswerEntry, keyAt: number): void {
  const { keyspace } = context;
  const { scope } = call.session;
  call.later(async (reply, args) => answer(reply, await keyspace.read(scope, args[keyAt]!)));
}

/** What a command picks of each key, and what it makes of them together. */
export interface ManyReads<T> {
  /** The positions of the keys: `args[first, end)`. */
  readonly first: number;
  readonly end: number;
  /** Called once for each key, in any order. Whole entries need not be held together. */
  readonly pick: (entry: Entry | null) => T;
  /** Writes exactly one value; `picked` is in the order of the keys. */
  readonly answer: (reply: Reply, picked: readonly T[]) => void;
}

/** Answers from the live entries of several keys, each read by itself. */
export function readKeys<T>(context: CommandContext, call: Call<ClientSession>, reads: ManyReads<T>): void {
  const { keyspace } = context;
  const { scope } = call.session;
  const picked: T[] = [];
  for (let at = reads.first; at < reads.end; at++) {
    const entry = keyspace.peek(scope, call.args[at]!);
    if (entry === NOT_IN_MEMORY) {
      readKeysLater(context, call, reads, picked);
      return;
    }
    picked.push(reads.pick(entry));
  }
  reads.answer(call.reply, picked);
}

/** Goes on behind the keys that were in memory. */
function readKeysLater<T>(
  { keyspace }: CommandContext,
  call: Call<ClientSession>,
  { first, end, pick, answer }: ManyReads<T>,
  picked: readonly T[],
): void {
  const { scope } = call.session;
  call.later(async (reply, args) => {
    const keys = args.slice(first + picked.length, end);
    const rest = await Promise.all(keys.map(async (key) => pick(await keyspace.read(scope, key))));
    answer(reply, [...picked, ...rest]);
  });
}

/** The place of an answer, once the keyspace has begun to look for it. */
class Later<Result> implements Sink<Result> {
  readonly #answer: (reply: Reply, result: Result) => void;
  #deferred: DeferredReply | null = null;

  constructor(answer: (reply: Reply, result: Result) => void) {
    this.#answer = answer;
  }

  begin(deferred: DeferredReply): void {
    this.#deferred = deferred;
  }

  onResult(result: Result): void {
    const deferred = this.#deferred!;
    try {
      this.#answer(deferred.reply, result);
    } catch (error) {
      return deferred.fail(error);
    }
    deferred.finish();
  }

  onFailure(error: unknown): void {
    this.#deferred!.fail(error);
  }
}

function answerOk(reply: Reply): void {
  reply.ok();
}

/** One read-modify-write on its way: what it decides with, and what it decided. */
class Update {
  args: readonly Buffer[];
  answer: Answer = NULL;
  readonly #decide: Decide;

  constructor(decide: Decide, args: readonly Buffer[]) {
    this.#decide = decide;
    this.args = args;
  }

  readonly apply = (entry: Entry | null): Effect => {
    const decision = this.#decide(entry, this.args);
    this.answer = decision.answer;
    return decision.effect;
  };
}
