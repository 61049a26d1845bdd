/** Programs of the operator's that are run to their end. */

export interface ProgramRun {
  readonly program: string;
  readonly args: readonly string[];
  /** Beside those of this process. */
  readonly environment: Readonly<Record<string, string>>;
  /** Then it is killed. */
  readonly withinMs: number;
}

export interface ProgramEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly isLate: boolean;
  /** The end of what it wrote, at most some thousand characters of each. */
  readonly output: string;
  readonly errors: string;
}

export interface Programs {
  /** No shell reads the words. Rejects with an `OperatingError` (UNAVAILABLE) when there is no such program. */
  run(run: ProgramRun): Promise<ProgramEnd>;
}
