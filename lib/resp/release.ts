/**
 * Lets replies go. Once a turn the server hands over what its connections have ready; it leaves after the turn's changes
 * are committed, and under fsync `always` after they are acknowledged, in order. When the commit fails, the replies that
 * claim a write of this turn become that error, those that are not ready yet included; when the acknowledgement does, all that claim a write. The other replies
 * leave as they are.
 *
 * INVARIANT: outputs leave in the order in which they were handed over, so each connection's replies do.
 */
import { background } from "../background.js";
import type { CommitGate } from "./call.js";
import { errorReplyOf } from "./error-reply.js";
import { Reply } from "./reply.js";
import { type Output, type WriteFailure, withFailedWrites } from "./reply-queue.js";

/** A connection, seen from here. */
export interface Outlet {
  /** Takes the replies that are ready. */
  takeOutput(): Output;
  /** Sends `text`, which is the taken output's or stands in for it; "" sends nothing. */
  send(text: string, taken: Output): void;
}

/** The outputs of a turn that wait for their acknowledgement. */
interface Batch {
  readonly outlets: readonly Outlet[];
  readonly outputs: readonly Output[];
  isWaiting: boolean;
  failure: WriteFailure | null;
}

export class Release {
  readonly #gate: CommitGate;
  /** Oldest first. */
  readonly #batches: Batch[] = [];

  readonly #failHeldUp: (failure: string) => void;

  /** `failHeldUp` answers with this encoded error all writes of the turn whose answers are not ready. */
  constructor(gate: CommitGate, failHeldUp: (failure: string) => void) {
    this.#gate = gate;
    this.#failHeldUp = failHeldUp;
  }

  /** Commits, then sends (or holds) what the outlets have ready. */
  turn(outlets: readonly Outlet[]): void {
    let failure: WriteFailure | null = null;
    try {
      this.#gate.commit();
    } catch (thrown) {
      failure = { reply: encodedFailure(thrown), of: "uncommitted" };
      this.#failHeldUp(failure.reply);
    }
    if (this.#batches.length === 0 && this.#gate.isAcknowledged) {
      for (const outlet of outlets) {
        const output = outlet.takeOutput();
        outlet.send(failure === null ? output.text : withFailedWrites(output, failure), output);
      }
      return;
    }
    // A turn without replies has nothing to hold back, and its list of outlets is the server's to go on with.
    if (outlets.length === 0) return;
    const outputs = outlets.map((outlet) => outlet.takeOutput());
    const batch: Batch = { outlets, outputs, isWaiting: true, failure };
    this.#batches.push(batch);
    background(this.#awaitAcknowledgement(batch));
  }

  async #awaitAcknowledgement(batch: Batch): Promise<void> {
    try {
      await this.#gate.acknowledged();
    } catch (thrown) {
      batch.failure = { reply: encodedFailure(thrown), of: "all" };
    }
    batch.isWaiting = false;
    while (this.#batches[0]?.isWaiting === false) this.#send(this.#batches.shift()!);
  }

  #send(batch: Batch): void {
    batch.outlets.forEach((outlet, i) => {
      const output = batch.outputs[i]!;
      outlet.send(batch.failure === null ? output.text : withFailedWrites(output, batch.failure), output);
    });
  }
}

/** What a client is told whose write could not be made durable. Anything but an operating failure is a bug and goes on. */
function encodedFailure(thrown: unknown): string {
  const reply = new Reply(2);
  reply.error(errorReplyOf(thrown));
  return reply.take();
}
