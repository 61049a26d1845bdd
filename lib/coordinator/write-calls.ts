/** What a write on its way leaves with others: its STOREs, the end of its next turn, and the marks of who missed it. */
import { assert } from "../assert.js";
import type { RecordView } from "../causality/record-view.js";
import { VersionVector } from "../causality/version-vector.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { Hints } from "../replica/hints.js";
import type { BatchedCall, MemberFailureCode, StoreHead } from "../replica/remote-replicas.js";
import type { MintedDot } from "../replica/replica.js";
import { decodeUncovered, ReplicaKind } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { SlotPlan } from "./slot-plan.js";

/** A place of the plan, by what its member is to the write. `again`: an owner that another was to pass it on to before. */
export type Role = "owner" | "partner" | "stand-in" | "extra" | "again";

/** The write, as they see it. */
export interface WriteOnItsWay {
  readonly deadlineMs: number;
  /** Counts the sendings: answers to an earlier one do not count for a later. */
  readonly round: number;
  launch(round: number): void;
  onDurable(round: number): void;
  onLost(round: number, error: OperatingError): void;
  onStored(call: StoreCall, answer: Buffer): void;
  onFailed(call: StoreCall): void;
  /** It is to be sent alone. */
  onAlone(call: StoreCall): void;
}

/** One STORE of a write. */
export class StoreCall implements BatchedCall {
  readonly to: MemberId;
  readonly kind = ReplicaKind.store;
  readonly deadlineMs: number;
  readonly position: number;
  readonly role: Role;
  /** The owner that it is for: itself, or whom it stands in for. */
  readonly target: MemberId;
  readonly round: number;
  readonly #write: WriteOnItsWay;

  constructor(write: WriteOnItsWay, place: { to: MemberId; position: number; role: Role; target: MemberId }) {
    assert(place.role === "stand-in" || place.to === place.target, "write: who does not stand in is sent its own");
    this.to = place.to;
    this.deadlineMs = write.deadlineMs;
    this.position = place.position;
    this.role = place.role;
    this.target = place.target;
    this.round = write.round;
    this.#write = write;
  }

  onAnswer(payload: Buffer): void {
    this.#write.onStored(this, payload);
  }

  onFailure(_code: MemberFailureCode, _text: string): void {
    this.#write.onFailed(this);
  }

  onAlone(): void {
    this.#write.onAlone(this);
  }
}

/** `hintFor`: for whom it is to be kept; null for the receiver itself. */
export function headOf({ ring }: SlotPlan, dataKey: string, hintFor: MemberId | null): StoreHead {
  return { ringVersion: ring.document.version, hintFor, dataKey };
}

/** A write that is to be sent once more. */
export class Relaunch implements TurnWork {
  readonly #write: WriteOnItsWay;
  readonly #round: number;

  constructor(write: WriteOnItsWay) {
    this.#write = write;
    this.#round = write.round;
  }

  committed(): void {
    this.#write.launch(this.#round);
  }

  durable(): void {
    this.#write.onDurable(this.#round);
  }

  lost(error: OperatingError): void {
    this.#write.onLost(this.#round, error);
  }
}

/** Members that lack the write, for which this node, which holds it, keeps a mark. */
export class WriteMarks {
  readonly #hints: Hints;
  readonly #dataKey: string;
  #missing: MemberId[] | null = null;
  #made: { readonly target: MemberId; readonly tag: number }[] | null = null;

  constructor(hints: Hints, dataKey: string) {
    this.#hints = hints;
    this.#dataKey = dataKey;
  }

  add(target: MemberId): void {
    this.#missing ??= [];
    if (!this.#missing.includes(target)) this.#missing.push(target);
  }

  /** Marks those that were added. Comes last in a step: looking into the engine ends what is at hand. */
  make(): void {
    if (this.#missing === null) return;
    this.#made ??= [];
    for (const target of this.#missing) this.#made.push({ target, tag: this.#hints.mark(target, this.#dataKey) });
    this.#missing = null;
  }

  /** The member has it after all. */
  takeBack(target: MemberId): void {
    const at = this.#made?.findIndex((mark) => mark.target === target) ?? -1;
    if (at < 0) return;
    const [mark] = this.#made!.splice(at, 1);
    this.#hints.unmark(target, this.#dataKey, mark!.tag);
  }
}

/** What others hold that the write does not cover, as their answers tell. */
export class UncoveredSeen {
  /** The newest stamp of it; 0 while there is none. */
  stamp = 0;
  context = VersionVector.EMPTY;

  /** What came to this node's own copy after the write was minted: whoever is sent the record is sent that, too. */
  static ofOwn(record: RecordView, { sequence }: MintedDot): UncoveredSeen | null {
    if (record.versionCount === 1 || record.newestSequence() === sequence) return null;
    const seen = new UncoveredSeen();
    seen.stamp = record.newestStamp();
    return seen;
  }

  /** False when the answer is damaged. */
  note(answer: Buffer): boolean {
    try {
      const { stamp, context } = decodeUncovered(answer);
      this.stamp = Math.max(this.stamp, stamp);
      this.context = this.context.join(context);
      return true;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return false;
    }
  }
}

/** `reached`: of the replicas that are needed. `where`: what `tooFewIn` says. */
export function writeReached(reached: number, needed: number, where = ""): OperatingError {
  const text = `write reached ${Math.min(reached, needed - 1)} of ${needed} replicas${where}; it may still take effect`;
  return new OperatingError("QUORUM", text);
}
