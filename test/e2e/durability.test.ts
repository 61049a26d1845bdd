/**
 * Servers killed under load, and what is there after the next start. E2E_KILLS sets the number of kills of each policy:
 * a few in every test run, 20 and more by hand.
 *
 * A kill takes the process, not the machine: what had reached the operating system survives. That unsynced pages may be
 * lost is what the simulated disk's crash tests are for.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { NodeDisk } from "../../lib/host/node-disk.js";
import { segmentIdOf } from "../../lib/lsm/log-format.js";
import { readManifest } from "../../lib/lsm/manifest.js";
import { tableNumberOf } from "../../lib/lsm/table-format.js";
import { REPLICA_COUNTERS } from "../../lib/replica/replica.js";
import { Lcg } from "../resp/lcg.js";
import { runKindred } from "./program.js";
import { type ServerProcess, serversOfTest } from "./server-process.js";
import { until } from "./until.js";
import type { WireClient } from "./wire-client.js";
import { WriteHistory } from "./write-history.js";

const KILLS = Number(process.env.E2E_KILLS ?? 4);
const ROUND_MS_MAX = 30_000;
const RESTART_MS_MAX = 5_000;
/** `everysec` promises about a second: a sync begins up to 1,000 ms after a write, and takes its own time. */
const EVERYSEC_LOSS_MS = 1_000;
const EVERYSEC_MARGIN_MS = 500;

const MEMORY_TABLE_BYTES = 256 * 1_024;

/** Small tables, and background writes slow enough that most kills find one at work. */
const BUSY_DISK = {
  "memory-table-bytes": `${MEMORY_TABLE_BYTES}`,
  "table-bytes": "256kb",
  "level-bytes-base": "1mb",
  "compaction-rate-bytes": "1mb",
};

interface Hits {
  flush: number;
  compaction: number;
}

/** What a kill waits for. */
type Moment = { readonly kind: "flush" | "compaction" } | { readonly kind: "any"; readonly writes: number };

describe(`a server killed ${KILLS} times under load`, function () {
  this.timeout(KILLS * ROUND_MS_MAX);
  const servers = serversOfTest();

  const policies = [
    { fsync: "always", lossMs: 0, promise: "has every acknowledged write" },
    { fsync: "everysec", lossMs: EVERYSEC_LOSS_MS + EVERYSEC_MARGIN_MS, promise: "misses none older than about a second" },
  ];
  for (const { fsync, lossMs, promise } of policies) {
    it(`with appendfsync ${fsync} ${promise}, starts again quickly and is sound, half of the times in a flush or compaction`, async () => {
      const random = new Lcg(7_300);
      const history = new WriteHistory({ connections: 6, writers: 24, keysPerWriter: 40 });
      const server = await servers.start({ settings: { appendfsync: fsync, ...BUSY_DISK } });
      const hits: Hits = { flush: 0, compaction: 0 };
      let [lost, acknowledged, slowestMs] = [0, 0, 0];
      let kill = 0;
      // A kill may come a moment after the work it aims at: some more make up for those.
      for (; kill < KILLS || (!hasEnough(hits) && kill < 3 * KILLS); kill++) {
        const moment = momentOf(kill, hits, random);
        const load = await history.start(server.port);
        const killedMs = await killAt(server, moment, history);
        await load.ended;
        const trace = tracesOfWork(server);
        if (moment.kind === "flush" && trace.hasUnflushedTable) hits.flush++;
        if (moment.kind === "compaction" && trace.hasUnfinishedTable) hits.compaction++;

        const check = await runKindred(["check", server.directory]);
        expect(check.code, `after kill ${kill}:\n${check.stdout}${check.stderr}`).to.equal(0);
        const { tookMs } = await server.restart();
        expect(tookMs).to.be.below(RESTART_MS_MAX);
        const client = await server.connect();
        const verdict = await history.verify(client, fsync === "always" ? Number.POSITIVE_INFINITY : killedMs - lossMs);
        await client.close();
        expect(verdict.violations.slice(0, 10), `after kill ${kill} at ${JSON.stringify(moment)}`).to.deep.equal([]);
        expect(verdict.acknowledged, "acknowledged writes").to.be.above(100);
        lost += verdict.lost;
        acknowledged += verdict.acknowledged;
        slowestMs = Math.max(slowestMs, tookMs);
      }
      process.stdout.write(
        `      ${kill} kills, ${hits.flush} seen in a flush and ${hits.compaction} in a compaction; ` +
          `${acknowledged} acknowledged writes, ${lost} lost; slowest start ${Math.round(slowestMs)} ms\n`,
      );
      expect(history.unexpected.slice(0, 10)).to.deep.equal([]);
      if (fsync === "always") expect(lost).to.equal(0);
      expect(hasEnough(hits), JSON.stringify(hits)).to.equal(true);
    });
  }
});

/** Whether half of the kills hit background work, and both kinds of it. */
function hasEnough({ flush, compaction }: Hits): boolean {
  return flush > 0 && compaction > 0 && flush + compaction >= KILLS / 2;
}

/** Two of three kills aim at background work, at the kind that was hit less so far. */
function momentOf(kill: number, hits: Hits, random: Lcg): Moment {
  if (kill % 3 === 2) return { kind: "any", writes: 200 + random.below(20_000) };
  return { kind: hits.compaction < hits.flush ? "compaction" : "flush" };
}

/** Waits for the moment and kills. Resolves with when. */
async function killAt(server: ServerProcess, moment: Moment, history: WriteHistory): Promise<number> {
  const watcher = await server.connect();
  const patience = { what: `the moment to kill: ${JSON.stringify(moment)}`, withinMs: ROUND_MS_MAX / 2 };
  await until(patience, async () => ((await hasCome(moment, { server, watcher, history })) ? true : null));
  const killedMs = performance.now();
  await server.kill();
  return killedMs;
}

interface Run {
  readonly server: ServerProcess;
  readonly watcher: WireClient;
  readonly history: WriteHistory;
}

async function hasCome(moment: Moment, { server, watcher, history }: Run): Promise<boolean> {
  if (history.acknowledged <= 100) return false;
  if (moment.kind === "any") return history.acknowledged >= moment.writes;
  const storage = await watcher.info("storage");
  if (moment.kind === "flush") return storage.get("is_flushing") === "1";
  return storage.get("is_compacting") === "1" && tracesOfWork(server).hasUnfinishedTable;
}

/** What the disk of a server shows of the work that was under way. */
function tracesOfWork(server: ServerProcess): { readonly hasUnflushedTable: boolean; readonly hasUnfinishedTable: boolean } {
  const disk = new NodeDisk();
  const store = join(server.directory, "store");
  const { levels, oldestSegment } = readManifest(disk, store, REPLICA_COUNTERS)!;
  const named = new Set(levels.flat().map(({ number }) => number));
  let logBytes = 0;
  let hasUnfinishedTable = false;
  for (const name of disk.list(store) ?? []) {
    const table = tableNumberOf(name);
    // A file of a table that no manifest names yet.
    if (table !== null && !named.has(table)) hasUnfinishedTable = true;
    if ((segmentIdOf(name) ?? -1) >= oldestSegment)
      logBytes += statSync(join(store, name), { throwIfNoEntry: false })?.size ?? 0;
  }
  // More log than one memory table takes: one is full and is not a table yet.
  return { hasUnflushedTable: logBytes > MEMORY_TABLE_BYTES, hasUnfinishedTable };
}
