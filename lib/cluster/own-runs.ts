/**
 * The runs of this member that its store knows of, by their generations. A store that was put back to an earlier copy of itself lacks
 * those since: the other members know one that is not among them (known-runs.ts), and say so in the hello.
 *
 * INVARIANT: a run is on the disk before anybody hears of it.
 */
import { PartReader, varint } from "./field-encoding.js";
import { RecordName, type Records } from "./records.js";

const FORMAT = 1;
/** Older ones count as settled. */
const RUNS_MAX = 16;

/** What a hello says of them. */
export interface RunsTold {
  /** Whatever was up to this generation is settled. */
  readonly settled: number;
  /** Since then, ascending. */
  readonly generations: readonly number[];
}

export class OwnRuns {
  readonly #records: Records;
  #told: RunsTold;

  /** `last`: the newest generation that the store knows of; where it has no record of runs, all up to that are settled. Throws CORRUPT. */
  constructor(records: Records, last: number) {
    this.#records = records;
    const stored = records.get(RecordName.runs);
    this.#told = stored === null ? { settled: last, generations: [] } : decode(stored);
  }

  get told(): RunsTold {
    return this.#told;
  }

  /** A run begins. Throws IO. */
  note(generation: number): void {
    const generations = [...this.#told.generations, generation];
    const dropped = generations.splice(0, generations.length - RUNS_MAX);
    this.#store({ settled: dropped.at(-1) ?? this.#told.settled, generations });
  }

  /** Whatever was lost of the runs before this one has been made up for. Throws IO. */
  settle(generation: number): void {
    this.#store({ settled: generation, generations: [] });
  }

  #store(told: RunsTold): void {
    const numbers = [FORMAT, told.settled, ...told.generations];
    this.#records.putNow(RecordName.runs, Buffer.concat(numbers.map(varint)));
    this.#told = told;
  }
}

function decode(bytes: Buffer): RunsTold {
  const part = new PartReader(bytes);
  part.format("the record of this member's runs", FORMAT);
  return { settled: part.varint(), generations: part.many((each) => each.varint()) };
}
