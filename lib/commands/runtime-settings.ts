/**
 * The settings of the node as CONFIG sees them, and Redis's parameters that mean nothing here but that clients read. The
 * configuration implements `RuntimeSettings`; `withInertParameters` puts the fixed ones beside it.
 */
import type { Glob } from "./glob.js";

export interface SettingValue {
  /** Lower case. */
  readonly name: string;
  readonly value: string;
}

/** Why a set was refused; nothing was changed. */
export type SettingRefusal =
  | { readonly kind: "unknown"; readonly name: string }
  /** `reason` in Redis's words where it has them: "can't set immutable config", "argument must be a memory value". */
  | { readonly kind: "refused"; readonly name: string; readonly reason: string };

export const IMMUTABLE = "can't set immutable config";

export interface RuntimeSettings {
  /** Settings whose name matches the pattern (lower case), by name. Secrets are shown, as in Redis. */
  list(glob: Glob): readonly SettingValue[];
  /** The value as text; null for a name that does not exist. Lower case. */
  get(name: string): string | null;
  /**
   * Applies all changes or none: validates every one before the first is applied, and takes back what was applied when one
   * fails. Returns null when all hold. Names are in lower case, each once.
   */
  set(changes: readonly SettingValue[]): SettingRefusal | null;
  /** Writes the settings to the configuration file. "no file": the node was started without one. Throws code `IO`. */
  rewrite(): "written" | "no file";
}

/**
 * Parameters of Redis that clients, dashboards and benchmarks read, with the value that is true of Kindred. Setting one to
 * what it is succeeds; anything else is refused, for it would change nothing.
 */
const inert: Readonly<Record<string, string>> = {
  "active-expire-effort": "1",
  activedefrag: "no",
  activerehashing: "yes",
  appendonly: "yes",
  "client-query-buffer-limit": "1073741824",
  "cluster-enabled": "no",
  daemonize: "no",
  databases: "16",
  "io-threads": "1",
  "latency-tracking": "yes",
  "lazyfree-lazy-eviction": "no",
  "lazyfree-lazy-expire": "no",
  "lazyfree-lazy-server-del": "no",
  "lazyfree-lazy-user-del": "no",
  "lazyfree-lazy-user-flush": "no",
  maxmemory: "0",
  "maxmemory-clients": "0",
  "maxmemory-policy": "noeviction",
  "maxmemory-samples": "5",
  "min-replicas-to-write": "0",
  "notify-keyspace-events": "",
  "proto-max-bulk-len": "536870912",
  "replica-read-only": "yes",
  "repl-diskless-sync": "yes",
  replicaof: "",
  save: "",
  "slave-read-only": "yes",
  slaveof: "",
  supervised: "no",
  "tls-port": "0",
};

/** Parameters that Redis answers by name but does not list. Nothing delays the start here. */
const unlisted: Readonly<Record<string, string>> = { "key-load-delay": "0" };

/** Why some of them stay as they are, where there is more to say than that they do. */
const reasons: Readonly<Record<string, string>> = {
  "notify-keyspace-events": "Kindred does not have keyspace notifications yet",
};

/** The node's settings with the inert parameters beside them; a setting of the node hides an inert one of its name. */
export function withInertParameters(settings: RuntimeSettings): RuntimeSettings {
  return new SettingsWithInert(settings);
}

class SettingsWithInert implements RuntimeSettings {
  readonly #settings: RuntimeSettings;

  constructor(settings: RuntimeSettings) {
    this.#settings = settings;
  }

  list(glob: Glob): readonly SettingValue[] {
    const own = this.#settings.list(glob);
    const names = new Set(own.map((setting) => setting.name));
    const others = Object.entries(inert)
      .filter(([name]) => !names.has(name) && glob.matches(name))
      .map(([name, value]) => ({ name, value }));
    return [...own, ...others].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  get(name: string): string | null {
    return this.#settings.get(name) ?? inertValue(name);
  }

  set(changes: readonly SettingValue[]): SettingRefusal | null {
    for (const { name } of changes) {
      if (this.get(name) === null) return { kind: "unknown", name };
    }
    const own: SettingValue[] = [];
    for (const change of changes) {
      if (this.#settings.get(change.name) !== null) own.push(change);
      else if (!isSameValue(change, inertValue(change.name))) {
        return { kind: "refused", name: change.name, reason: reasons[change.name] ?? IMMUTABLE };
      }
    }
    return own.length === 0 ? null : this.#settings.set(own);
  }

  rewrite(): "written" | "no file" {
    return this.#settings.rewrite();
  }
}

function inertValue(name: string): string | null {
  if (Object.hasOwn(inert, name)) return inert[name]!;
  return Object.hasOwn(unlisted, name) ? unlisted[name]! : null;
}

/** `databases` is fixed at the start in Redis too, where setting it is always an error. */
function isSameValue(change: SettingValue, value: string | null): boolean {
  return change.name !== "databases" && change.value.toLowerCase() === value;
}
