/** Processes of this program that another one of it starts on the same machine, and watches: `kindred cluster`. */

export interface ChildOptions {
  /** What follows the program's name: `["server", "--port", "7000"]`. */
  readonly args: readonly string[];
  /** A line of its standard output or error, without its end. */
  readonly onLine: (line: string) => void;
  /** It works: a server serves. At most once. */
  readonly onReady: () => void;
}

export interface ChildEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  /** Its name: `SIGKILL`. */
  readonly signal: string | null;
}

export interface Child {
  readonly pid: number;
  /** When it has ended and all of its lines were told. */
  readonly ended: Promise<ChildEnd>;
  /** Harmless once it has ended. */
  signal(name: "SIGTERM" | "SIGKILL"): void;
}

export interface Children {
  /**
   * Starts one. It does not get the signals of our terminal, and goes on should we end without a word. Rejects with an
   * `OperatingError` (UNAVAILABLE) when the system refuses.
   */
  start(options: ChildOptions): Promise<Child>;
}
