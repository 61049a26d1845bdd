/**
 * The answer to a request of another member: it leaves when all that was done here so far is committed and as durable as the
 * policy asks, as a client's reply does.
 */
import { messageOf, type OperatingError } from "../errors.js";
import type { RefusalCode } from "../peer/peer.js";
import type { TurnWork } from "./turn-end.js";

/** Where an answer goes. */
export interface Answered {
  /** `payload` is copied. */
  answer(payload: Uint8Array): void;
  refuse(code: RefusalCode, text?: string): void;
}

export class DurableAnswer implements TurnWork {
  readonly #request: Answered;
  readonly #answer: Buffer;
  readonly #refusal: ((error: OperatingError) => Buffer) | null;

  /** `answer` is owned. `refusal` makes the answer that tells of a failure; without it the call fails. */
  constructor(request: Answered, answer: Buffer, refusal: ((error: OperatingError) => Buffer) | null = null) {
    this.#request = request;
    this.#answer = answer;
    this.#refusal = refusal;
  }

  committed(): void {}

  durable(): void {
    this.#request.answer(this.#answer);
  }

  lost(error: OperatingError): void {
    if (this.#refusal === null) this.#request.refuse("FAILED", messageOf(error));
    else this.#request.answer(this.#refusal(error));
  }
}
