/** The calls that took longest, newest first, bounded in number and in the size of each. */
import { latin1Of } from "../bytes/latin1.js";
import type { CommandSettings } from "./command-settings.js";

/** Longer requests are cut, and say by how much. */
const ARGUMENTS_MAX = 32;
const ARGUMENT_BYTES_MAX = 128;

export interface SlowCall {
  readonly id: number;
  /** Unix time in seconds when it ended. */
  readonly endedSeconds: number;
  readonly micros: number;
  /** Latin1. */
  readonly args: readonly string[];
  readonly remoteAddress: string;
  readonly clientName: string;
}

export class SlowLog {
  readonly #settings: CommandSettings;
  #calls: SlowCall[] = [];
  #nextId = 0;

  constructor(settings: CommandSettings) {
    this.#settings = settings;
  }

  /** Newest first. */
  get calls(): readonly SlowCall[] {
    this.#trim();
    return this.#calls;
  }

  /** Notes a call; the caller has compared its time with the threshold. */
  add(call: Omit<SlowCall, "id">): void {
    if (this.#settings.slowlogLengthMax === 0) return;
    this.#calls.unshift({ ...call, id: this.#nextId++ });
    this.#trim();
  }

  reset(): void {
    this.#calls = [];
  }

  #trim(): void {
    const { slowlogLengthMax } = this.#settings;
    if (this.#calls.length > slowlogLengthMax) this.#calls.length = slowlogLengthMax;
  }
}

/** What the slow log keeps of a request: secrets hidden, long ones cut. */
export function shortened(args: readonly Uint8Array[], secretFrom: number): readonly string[] {
  const shown: string[] = [];
  for (const [at, argument] of args.entries()) {
    if (at === ARGUMENTS_MAX - 1 && args.length > ARGUMENTS_MAX) {
      shown.push(`... (${args.length - at} more arguments)`);
      break;
    }
    if (at >= secretFrom) shown.push("(redacted)");
    else if (argument.length <= ARGUMENT_BYTES_MAX) shown.push(latin1Of(argument));
    else shown.push(`${latin1Of(argument, 0, ARGUMENT_BYTES_MAX)}... (${argument.length - ARGUMENT_BYTES_MAX} more bytes)`);
  }
  return shown;
}
