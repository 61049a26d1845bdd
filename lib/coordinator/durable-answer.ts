/**
 * The answer to a request that another node passed on: it leaves when all that was done here so far is committed and as durable
 * as the policy asks, as a client's reply does.
 */
import type { OperatingError } from "../errors.js";
import type { MemberRequest } from "../replica/remote-replicas.js";
import type { TurnWork } from "../replica/turn-end.js";
import { encodeRefused } from "./forward-messages.js";

export class DurableAnswer implements TurnWork {
  readonly #request: MemberRequest;
  readonly #answer: Buffer;

  constructor(request: MemberRequest, answer: Buffer) {
    this.#request = request;
    this.#answer = answer;
  }

  committed(): void {}

  durable(): void {
    this.#request.answer(this.#answer);
  }

  lost(error: OperatingError): void {
    this.#request.answer(encodeRefused(error));
  }
}
