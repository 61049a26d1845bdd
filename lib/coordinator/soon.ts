/** Runs something at the end of the turn, behind the writes that the turn began. */
import type { TurnWork } from "../replica/turn-end.js";

export class Soon implements TurnWork {
  readonly #run: () => void;

  constructor(run: () => void) {
    this.#run = run;
  }

  committed(): void {
    this.#run();
  }

  durable(): void {}

  /** Whatever the disk said of other works of the turn. */
  lost(): void {
    this.#run();
  }
}
