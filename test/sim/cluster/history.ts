/**
 * Everything that clients asked for and were told, in the order of one counter: what the checkers judge. An operation is on
 * one key; a command on several keys is one operation for each.
 */
import type { WireReply } from "./sim-client.js";

export type OperationName = "get" | "set" | "set context" | "del" | "setnx" | "incr" | "expire" | "siblings";

export type Outcome =
  | { readonly kind: "pending" }
  | { readonly kind: "answered"; readonly reply: WireReply }
  /** An error reply. */
  | { readonly kind: "refused"; readonly text: string }
  /** It may or may not have taken effect. */
  | { readonly kind: "unknown"; readonly why: "connection lost" | "no answer" }
  /** It never left the client. */
  | { readonly kind: "unsent" };

/** How many replicas were to answer. On a ring of one: 1, 1, 1. */
export interface Needed {
  readonly copies: number;
  readonly read: number;
  readonly write: number;
  /** How many of them are of each data centre, at least; as many copies are in each. Default: one data centre. */
  readonly centres?: readonly number[];
  readonly standIns: "strict" | "sloppy";
}

/** A moment: `order` counts everything that happens, so that no two are equal. */
export interface Moment {
  readonly order: number;
  readonly ms: number;
}

export interface OperationStart {
  readonly name: OperationName;
  readonly client: string;
  /** The node that the client speaks to. */
  readonly node: number;
  readonly key: string;
  /** What it writes; unique in the run but for INCR. Null where it writes no value of its own. */
  readonly value: string | null;
  /** The context of a SET ... CONTEXT. */
  readonly token: string | null;
  readonly needed: Needed;
}

export interface Operation extends OperationStart {
  readonly id: number;
  readonly invoked: Moment;
  returned: Moment | null;
  outcome: Outcome;
  /** The answering node's wall clock when it was invoked and when it returned. */
  readonly wallInvokedMs: number;
  wallReturnedMs: number;
  /** The latest time that the wall clock of any node which may keep its key has shown until it returned. */
  wallLatestMs: number;
  /** The node's log had failed: it goes on answering reads of what it will not keep. */
  isFromFailedLog: boolean;
}

/** What a history notes of a node beside what its client sees. */
export interface NodeView {
  readonly wallMs: number;
  readonly wallLatestMs: number;
  readonly hasFailedLog: boolean;
}

export class History {
  readonly operations: Operation[] = [];
  readonly #byKey = new Map<string, Operation[]>();
  readonly #byValue = new Map<string, Operation>();
  readonly #now: () => number;
  readonly #view: (node: number) => NodeView;
  #order = 0;

  constructor(clocks: { readonly now: () => number; readonly view: (node: number) => NodeView }) {
    this.#now = clocks.now;
    this.#view = clocks.view;
  }

  /** The next moment. */
  moment(): Moment {
    return { order: ++this.#order, ms: this.#now() };
  }

  begin(start: OperationStart): Operation {
    const { wallMs } = this.#view(start.node);
    const operation: Operation = {
      ...start,
      id: this.operations.length,
      invoked: this.moment(),
      returned: null,
      outcome: { kind: "pending" },
      wallInvokedMs: wallMs,
      wallReturnedMs: wallMs,
      wallLatestMs: wallMs,
      isFromFailedLog: false,
    };
    this.operations.push(operation);
    const others = this.#byKey.get(start.key);
    if (others === undefined) this.#byKey.set(start.key, [operation]);
    else others.push(operation);
    if (start.value !== null) this.#byValue.set(start.value, operation);
    return operation;
  }

  end(operation: Operation, outcome: Outcome): void {
    operation.outcome = outcome;
    operation.returned = this.moment();
    const { wallMs, wallLatestMs, hasFailedLog } = this.#view(operation.node);
    operation.wallReturnedMs = wallMs;
    operation.wallLatestMs = wallLatestMs;
    operation.isFromFailedLog = hasFailedLog;
  }

  get keys(): readonly string[] {
    return [...this.#byKey.keys()];
  }

  ofKey(key: string): readonly Operation[] {
    return this.#byKey.get(key) ?? [];
  }

  /** The operation that writes this value, or null. */
  writerOf(value: string): Operation | null {
    return this.#byValue.get(value) ?? null;
  }

  /** How the operations ended, by name and outcome. */
  summary(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { outcome } of this.operations) counts.set(outcome.kind, (counts.get(outcome.kind) ?? 0) + 1);
    return counts;
  }
}

/** Acknowledged: the client was told that it took effect. */
export function isAnswered(operation: Operation): boolean {
  return operation.outcome.kind === "answered";
}

export function describeOperation(operation: Operation): string {
  const { id, client, node, name, key, value, needed, invoked, returned, outcome } = operation;
  const end = returned === null ? "..." : returned.ms.toFixed(1);
  const level = needed.copies === 1 ? "" : ` R${needed.read} W${needed.write} of ${needed.copies} ${needed.standIns}`;
  return `#${id} ${invoked.ms.toFixed(1)}-${end} ${client} at node ${node}: ${name} ${key}${value === null ? "" : ` ${value}`}${level} -> ${describeOutcome(outcome)}`;
}

function describeOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case "answered":
      return JSON.stringify(outcome.reply);
    case "refused":
      return `-${outcome.text}`;
    case "unknown":
      return outcome.why;
    case "unsent":
    case "pending":
      return outcome.kind;
  }
}
