/** What the members that are asked to read answer, and how it is compared. Pure but for the calls, which tell their read. */
import type { Record } from "../causality/record.js";
import { decodeRecord } from "../causality/record-encoding.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { BatchedCall, MemberFailureCode } from "../replica/remote-replicas.js";
import { ReplicaKind } from "../replica/replica-messages.js";

/** What one position holds; a stand-in's hints are the position's, too. */
export interface Answer {
  readonly position: number;
  readonly from: MemberId;
  readonly isStandIn: boolean;
  /** Null: no record. Owned, or borrowed within the step that completes. */
  readonly bytes: Buffer | null;
}

/** A read, as its calls see it. */
export interface ReadOnItsWay {
  readonly deadlineMs: number;
  /** Counts the askings: answers to an earlier one are of no use to a later. */
  readonly round: number;
  onAnswer(call: ReadCall, payload: Buffer): void;
  onFailed(call: ReadCall): void;
  /** It is to be asked alone. */
  onAlone(call: ReadCall): void;
}

/** One READ. */
export class ReadCall implements BatchedCall {
  readonly to: MemberId;
  readonly kind = ReplicaKind.read;
  readonly deadlineMs: number;
  readonly position: number;
  readonly isStandIn: boolean;
  readonly round: number;
  readonly #read: ReadOnItsWay;

  constructor(read: ReadOnItsWay, place: { to: MemberId; position: number; isStandIn: boolean }) {
    this.to = place.to;
    this.deadlineMs = read.deadlineMs;
    this.position = place.position;
    this.isStandIn = place.isStandIn;
    this.round = read.round;
    this.#read = read;
  }

  onAnswer(payload: Buffer): void {
    this.#read.onAnswer(this, payload);
  }

  onFailure(_code: MemberFailureCode, _text: string): void {
    this.#read.onFailed(this);
  }

  onAlone(): void {
    this.#read.onAlone(this);
  }
}

export function isSame(a: Buffer | null, b: Buffer | null): boolean {
  if (a === null || b === null) return a === b;
  return a.equals(b);
}

export function decoded(bytes: Buffer | null): Record | null {
  return bytes === null ? null : decodeRecord(bytes);
}

/** True when a replica with `record` lacks nothing of `merged`: it has seen the same and holds the same versions. */
export function isSameKnowledge(record: Record | null, merged: Record): boolean {
  if (record === null) return false;
  if (record === merged) return true;
  const { versions } = record;
  return (
    record.context.dominates(merged.context) &&
    versions.length === merged.versions.length &&
    versions.every(({ dot }, at) => {
      const other = merged.versions[at]!.dot;
      return dot.actor === other.actor && dot.sequence === other.sequence;
    })
  );
}

/** `reached`: of the replicas that are needed. `where`: what `tooFewIn` says. */
export function readReached(reached: number, needed: number, where = ""): OperatingError {
  return new OperatingError("QUORUM", `read reached ${Math.min(reached, needed - 1)} of ${needed} replicas${where}`);
}
