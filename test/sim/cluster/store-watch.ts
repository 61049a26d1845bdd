/**
 * Looks into the stores of nodes from outside, without a word to the node: every batch that its engine appends to the log is
 * decoded as it is written, and before each start a copy of the disk is opened to see what the start will find.
 */
import { silentLog } from "../../../lib/log.js";
import { lsmJobs } from "../../../lib/lsm/jobs.js";
import { BATCH_HEADER_BYTES, Operation, OperationReader, segmentIdOf } from "../../../lib/lsm/log-format.js";
import { Lsm } from "../../../lib/lsm/lsm.js";
import { lsmSettings, storePaths } from "../../../lib/node/settings.js";
import { isDataKey } from "../../../lib/replica/data-key.js";
import { HINT_HEAD_BYTES, HINTS_END, HINTS_START, HintKind, splitHintKey } from "../../../lib/replica/hint-key.js";
import { recordJobOptions } from "../../../lib/replica/record-jobs.js";
import { SimClock } from "../sim-clock.js";
import type { SimDisk } from "../sim-disk.js";
import { SimRandom } from "../sim-random.js";
import { SimWorkers } from "../sim-workers.js";
import { Trace } from "../trace.js";
import type { CausalLedger, HintPlace } from "./causal-ledger.js";
import { DATA_DIRECTORY, type NodePlace, nodeConfig } from "./node-flags.js";

/** A change of one key in a batch that reached the log. Records are borrowed. */
export interface StoreChanges {
  put(key: string, record: Uint8Array): void;
  remove(key: string): void;
  /** A hint: what a member lacks, or null for a mark that it lacks this node's own. */
  putHint(place: HintPlace, record: Uint8Array | null): void;
  removeHint(place: HintPlace, kind: "record" | "mark"): void;
  clear(): void;
}

/** What a start finds. */
export interface StoreContents {
  /** By data key. */
  readonly records: ReadonlyMap<string, Buffer>;
  readonly hints: readonly FoundHint[];
}

export interface FoundHint extends HintPlace {
  /** Null for a mark. */
  readonly record: Buffer | null;
}

/** First byte of a batch's header; a segment's header begins with a letter. */
const BATCH_MARK_FIRST = 0xd5;
const ENTRIES_MAX = 1_000_000;

/** Tells `changes` what an append to the log means for data keys; other appends mean nothing. */
export function decodeAppend(path: string, bytes: Uint8Array, offset: number, length: number, changes: StoreChanges): void {
  if (segmentIdOf(path.slice(path.lastIndexOf("/") + 1)) === null || bytes[offset] !== BATCH_MARK_FIRST) return;
  // The writer goes on using its buffer.
  const batch = Buffer.from(bytes.subarray(offset, offset + length));
  const operations = new OperationReader(batch, BATCH_HEADER_BYTES, batch.length);
  while (operations.next()) {
    if (operations.kind === Operation.CLEAR) changes.clear();
    else if (operations.kind !== Operation.COUNT) {
      const key = operations.key();
      const value = operations.kind === Operation.REMOVE ? null : batch.subarray(operations.valueStart, operations.valueEnd);
      if (isDataKey(key)) {
        if (value === null) changes.remove(key);
        else changes.put(key, value);
      } else if (isHintKey(key)) tellHint(key, value, changes);
    }
  }
}

/** Tells the ledger of the changes of a node's store; `onStored` is called after each record. */
export function changesTold(ledger: CausalLedger, node: number, onStored: (dataKey: string) => void): StoreChanges {
  return {
    put: (dataKey, record) => {
      ledger.stored(node, dataKey, record);
      onStored(dataKey);
    },
    remove: (dataKey) => ledger.removed(node, dataKey),
    putHint: (place, record) => (record === null ? ledger.marked(node, place, true) : ledger.hinted(node, place, record)),
    removeHint: (place, kind) => (kind === "mark" ? ledger.marked(node, place, false) : ledger.unhinted(node, place)),
    clear: () => ledger.cleared(node),
  };
}

function tellHint(key: string, value: Buffer | null, changes: StoreChanges): void {
  const { kind, ...place } = splitHintKey(key);
  if (value === null) changes.removeHint(place, kind === HintKind.mark ? "mark" : "record");
  else changes.putHint(place, kind === HintKind.mark ? null : value.subarray(HINT_HEAD_BYTES));
}

function isHintKey(key: string): boolean {
  return key >= HINTS_START && key < HINTS_END;
}

/** All that a start on this disk will find. The disk is not touched. */
export async function readStore(disk: SimDisk, place: NodePlace): Promise<StoreContents> {
  const { storeDirectory } = storePaths(DATA_DIRECTORY);
  if (disk.paths().length === 0) return { records: new Map(), hints: [] };
  const clock = new SimClock();
  const random = new SimRandom(1);
  const copy = disk.copy({ clock, random, trace: new Trace() });
  const workers = new SimWorkers({ clock, disk: copy, random, jobs: lsmJobs(recordJobOptions()), stepMsMax: 1 });
  const settings = lsmSettings(nodeConfig(place));
  const lsm = await clock.run(Lsm.open({ disk: copy, clock, workers, log: silentLog, directory: storeDirectory, settings }));
  const page = await clock.run(lsm.scan({ from: "", to: HINTS_END, limit: ENTRIES_MAX, values: "with" }));
  const records = new Map<string, Buffer>();
  const hints: FoundHint[] = [];
  for (const { key, value } of page.entries) {
    if (isDataKey(key)) records.set(key, value!);
    else if (isHintKey(key)) {
      const { kind, ...hint } = splitHintKey(key);
      hints.push({ ...hint, record: kind === HintKind.mark ? null : value!.subarray(HINT_HEAD_BYTES) });
    }
  }
  return { records, hints };
}
