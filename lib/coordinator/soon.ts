/** Runs something at the end of the turn, behind the writes that the turn began. */
import type { TurnWork } from "../replica/turn-end.js";

export class Soon implements TurnWork {
  readonly #run: () => void;
  readonly #lost: () => void;

  /** `lost` instead, when the disk refused what the turn has stored; default: `run` all the same. */
  constructor(run: () => void, lost: () => void = run) {
    this.#run = run;
    this.#lost = lost;
  }

  committed(): void {
    this.#run();
  }

  durable(): void {}

  lost(): void {
    this.#lost();
  }
}
