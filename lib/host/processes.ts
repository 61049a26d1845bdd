/**
 * Which process is which, across restarts of the process and of the machine: what a lock file needs to tell a running owner
 * from one that is gone, also where every process has the same pid (containers).
 */

export interface ProcessIdentity {
  readonly pid: number;
  /** Differs after each start of the machine. */
  readonly boot: string;
  /** When the process started, in ticks of the machine since its start; a later process of the same pid has another. */
  readonly started: string;
}

export interface Processes {
  self(): ProcessIdentity;
  /** True when that very process runs on this machine, or when that cannot be told. */
  isRunning(identity: ProcessIdentity): boolean;
}
