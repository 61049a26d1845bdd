/** Takes the requests of a run apart, all of them before the first is dispatched. */
import RedisParser from "redis-parser";
import { assert } from "../assert.js";

export class RequestRun {
  /** Arguments of each request, borrowed from the bytes. */
  readonly requests: (readonly Buffer[])[] = [];
  readonly #parser: RedisParser;

  constructor() {
    const refuse = (): void => assert(false, "the gate lets only arrays of bulk strings through");
    this.#parser = new RedisParser({
      returnBuffers: true,
      returnReply: (args: readonly Buffer[]) => void this.requests.push(args),
      returnError: refuse,
      returnFatalError: refuse,
    });
  }

  /** Takes these apart: complete requests, as the gate lets them through. */
  read(bytes: Buffer): void {
    this.#parser.execute(bytes);
  }

  clear(): void {
    this.requests.length = 0;
  }
}
