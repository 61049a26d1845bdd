/**
 * The settings that commands obey, read at each use so that CONFIG SET takes effect at once. The configuration implements
 * it; nothing here is cached.
 */
import type { Consistency } from "../coordinator/consistency.js";

export interface CommandSettings {
  /** `requirepass`: latin1; "" when none is needed. */
  readonly requirePassword: string;
  /** `slowlog-log-slower-than`: microseconds; 0 logs every call, negative none. */
  readonly slowlogSlowerThanMicros: number;
  /** `slowlog-max-len`: entries kept. */
  readonly slowlogLengthMax: number;
  /** `latency-monitor-threshold`: milliseconds; 0 is off. */
  readonly latencyThresholdMs: number;
  /** `enable-debug-command`: who may use DEBUG. */
  readonly debugCommand: "no" | "local" | "yes";
  /** `maxclients`. */
  readonly clientsMax: number;
  /** What a connection to that database (0 to 15) begins with. */
  consistencyOf(database: number): Consistency;
}

/** Databases are numbered 0 to 15. */
export const DATABASES = 16;
