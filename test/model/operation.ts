/** What the model test knows of one operation of a client, and of what it may store. */
import { OperatingError } from "../../lib/errors.js";
import type { ModelRecord, Seen } from "./keyspace-model.js";

export type ModelEvent =
  | "applied"
  | "removed"
  | "reaped"
  | "refusedBatches"
  | "timeouts"
  | "busy"
  | "conflicts"
  | "siblings"
  | "limits"
  | "waited"
  | "holds"
  | "flushes"
  | "walks"
  | "jumps"
  | "stops"
  | "crashes"
  | "lost"
  | "refusals";

export interface Target {
  readonly database: number;
  readonly key: string;
  readonly dataKey: string;
}

/** One operation on one or several keys. */
export interface Operation {
  readonly name: string;
  readonly targets: readonly Target[];
  /** It took effect, or its caller has its answer. */
  isOver: boolean;
  /** A later one took effect: this one may not any more (it had nothing to do, or was refused and will be told). */
  isPassed: boolean;
  /** It was refused. */
  isDropped: boolean;
  /** A hold that has its keys. */
  isHolding: boolean;
  readonly isRemoval: boolean;
  /** Keys on which it has taken effect. */
  readonly begun: Set<string>;
  /** A removal that found a live value. */
  hasRemoved: boolean;
}

/** What an operation stores under a value. */
export interface Minting {
  readonly operation: Operation;
  readonly covers: "all" | "newest" | { readonly seen: Seen };
  readonly expiryMs: number;
}

export interface Removal {
  readonly operation: Operation;
  readonly dataKey: string;
}

export interface Reading {
  readonly target: Target;
  /** Operations on the key that were called before and are not over: the read comes after those that take effect. */
  readonly before: readonly Operation[];
  /** The records that there were since the read was called and the last of `before` took effect. */
  candidates: (ModelRecord | undefined)[];
}

export interface Token {
  readonly target: Target;
  readonly text: string;
  /** What the record that it was read from had seen. */
  readonly seen: Seen;
}

export interface Walk {
  readonly database: number;
  readonly must: Set<string>;
}

export const SETTINGS = { maxPairBytes: 200, siblingsMax: 3, requestTimeoutMs: 50 };

export type Code = "IO" | "BUSY" | "TIMEOUT" | "ARGUMENT" | "CONFLICT" | "CORRUPT" | "CLOSED";
const CODES: readonly unknown[] = ["IO", "BUSY", "TIMEOUT", "ARGUMENT", "CONFLICT", "CORRUPT", "CLOSED"];

export function isCode(answer: unknown): answer is Code {
  return CODES.includes(answer);
}

/** The value, or the code of the operating failure that was thrown. */
export function orCode<T>(work: () => T): T | Code {
  try {
    return work();
  } catch (error) {
    if (error instanceof OperatingError) return error.code as Code;
    throw error;
  }
}

export function requireCode(error: unknown, code: Code): void {
  if (!(error instanceof OperatingError) || error.code !== code) throw error;
}

export function requireCount(what: string, have: number, want = 0): void {
  if (have !== want) throw new Error(`${what} is ${have}, not ${want}`);
}

/**
 * A context covers an actor's versions up to the last that its record had seen, no more: where the record had begun anew
 * after a removal, and that removal was lost in a crash, what came back with it was minted by an actor that the context
 * does not know, and stays as a sibling.
 */
export function remaining(old: ModelRecord, covers: Minting["covers"]): ModelRecord {
  if (covers === "all") return [];
  if (covers === "newest") return old.slice(1);
  return old.filter(({ dot }) => dot.sequence > (covers.seen.get(dot.actor) ?? 0));
}

export function isDone(operation: Operation): boolean {
  return operation.isOver || operation.isPassed;
}

/** The name of the hold that it runs in, or "". */
export function holdOf({ name }: Operation): string {
  return name.includes("/") ? name.slice(0, name.indexOf("/")) : "";
}

export function nameOf({ database, key }: Target): string {
  return `${key} of ${database}`;
}
