/**
 * What has to wait for the commit of a turn: the changes of one turn of the loop are one batch of the log, and until that is
 * written nobody else may learn of them. A write leaves for other members, and a member is told that its record is stored,
 * in the order in which they were added, when the batch is in the log; what claims durability, when the policy's sync is done.
 *
 * INVARIANT: for each work exactly one of `committed` (then `durable` or `lost`) and `lost` is called first, once.
 */
import { background } from "../background.js";
import { OperatingError } from "../errors.js";

export interface TurnWork {
  /** What the turn changed is in the log. */
  committed(): void;
  /** It is as durable as the policy asks for. */
  durable(): void;
  /** It was taken back, or whether it is durable is unknown for ever. */
  lost(error: OperatingError): void;
}

/** The engine, as far as it is needed here. */
export interface TurnGate {
  commit(): void;
  readonly isAcknowledged: boolean;
  acknowledged(): Promise<void>;
}

export class TurnEnd {
  readonly #gate: TurnGate;
  readonly #schedule: () => void;
  #works: TurnWork[] = [];

  /** `schedule` makes sure that `run` is called at the end of this turn. */
  constructor(options: { gate: TurnGate; schedule: () => void }) {
    this.#gate = options.gate;
    this.#schedule = options.schedule;
  }

  add(work: TurnWork): void {
    if (this.#works.push(work) === 1) this.#schedule();
  }

  /** Commits, and tells the works of this turn. */
  run(): void {
    if (this.#works.length === 0) return;
    const works = this.#works;
    this.#works = [];
    try {
      this.#gate.commit();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      for (const work of works) work.lost(error);
      return;
    }
    for (const work of works) work.committed();
    if (this.#gate.isAcknowledged) for (const work of works) work.durable();
    else background(this.#awaitDurability(works));
  }

  async #awaitDurability(works: readonly TurnWork[]): Promise<void> {
    try {
      await this.#gate.acknowledged();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      for (const work of works) work.lost(error);
      return;
    }
    for (const work of works) work.durable();
  }
}
