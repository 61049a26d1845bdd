/**
 * Gives a store of a build that had no index of what may be reaped (record-index.ts) that index, once: reads all records, before
 * anything is served. A crash in the middle has it done again.
 */
import { RecordView } from "../causality/record-view.js";
import type { Log } from "../log.js";
import type { Lsm } from "../lsm/lsm.js";
import { DATA_END, reapingKey } from "./data-key.js";
import type { MetaStore } from "./meta-store.js";
import { footprintOfView, REAPABLE_COUNT } from "./record-index.js";

const RECORD = "reaping-index";
const FORMAT = 1;
const PAGE = 1_024;
const PAGE_BYTES = 4_194_304;
const NOTHING = new Uint8Array(0);

/** Rejects with IO or CORRUPT. */
export async function ensureReapingIndex(options: {
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly log: Log;
}): Promise<void> {
  const { lsm, meta, log } = options;
  if (meta.get(RECORD) !== null) return;
  const view = new RecordView();
  let records = 0;
  for (let from: string | null = ""; from !== null; ) {
    const range = { from, to: DATA_END, limit: PAGE, bytesMax: PAGE_BYTES, values: "with" } as const;
    const page: Awaited<ReturnType<Lsm["scan"]>> = await lsm.scan(range);
    for (const { key, value } of page.entries) {
      view.read(value!, 0, value!.length);
      if (!footprintOfView(view).isReapable || (await lsm.read(reapingKey(key))) !== null) continue;
      if (lsm.backlog() === "stopped") await lsm.room();
      lsm.put(reapingKey(key), NOTHING, 0, 0);
      lsm.count(REAPABLE_COUNT, 1);
      records++;
    }
    from = page.next;
  }
  meta.put(RECORD, Buffer.of(FORMAT));
  await lsm.committed();
  if (records > 0) log.info({ records }, "indexed tombstones of an earlier version");
}
