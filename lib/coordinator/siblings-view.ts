/** What SIBLINGS shows of a record: each distinct version with its clock, and the context that covers them all. */
import { readableDot, type StoreNames } from "../causality/actor.js";
import type { ContextTokens } from "../causality/context-token.js";
import { stampMs } from "../causality/hybrid-clock.js";
import { clockOf, distinctVersions, isLive } from "../causality/record.js";
import { decodeRecord } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";
import type { Clock } from "../host/clock.js";
import { databaseOfDataKey, rawKeyOf } from "../replica/data-key.js";
import type { Sibling, Siblings } from "./keyspace.js";

export interface SiblingsViewOptions {
  readonly clock: Clock;
  readonly tokens: ContextTokens;
  /** Names of stores for readable clocks. */
  readonly names: StoreNames;
}

export class SiblingsView {
  readonly #clock: Clock;
  readonly #tokens: ContextTokens;
  readonly #names: StoreNames;

  constructor({ clock, tokens, names }: SiblingsViewOptions) {
    this.#clock = clock;
    this.#tokens = tokens;
    this.#names = names;
  }

  /** Null where there is no record. Throws CORRUPT. */
  of(dataKey: string, view: RecordView | null): Siblings | null {
    if (view === null) return null;
    const record = decodeRecord(view.bytes, view.start, view.end);
    const nowMs = this.#clock.wallMs();
    const versions = distinctVersions(record).map(
      (version): Sibling => ({
        value: isLive(version, nowMs) ? Buffer.from(version.value!).toString("latin1") : null,
        clock: clockOf(record, version).readable(this.#names),
        stampMs: stampMs(version.stamp),
        dot: readableDot(version.dot, this.#names),
      }),
    );
    const key = Buffer.from(rawKeyOf(dataKey), "latin1");
    return { context: this.#tokens.mint(databaseOfDataKey(dataKey), key, record.context), versions };
  }
}
