/**
 * What becomes of tombstones: keys are deleted while a member is dead, for longer than anything is kept for it; it comes back with the
 * old values. None of them may come to life again, all tombstones have to go, and their space with them.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Redis } from "ioredis";
import { pause, plainClient } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import type { ServerSettings, Servers } from "./server-process.js";
import { until } from "./until.js";

export interface DeletionsRunOptions {
  /** How many are deleted, and how many are not. */
  readonly keys: number;
  readonly kept: number;
  readonly settings?: ServerSettings;
  readonly say?: (line: string) => void;
}

export interface DeletionsReport {
  readonly keys: number;
  /** Hints that were dropped for their age, while the member was dead, and tombstones that went in that time. */
  readonly hintsDropped: number;
  readonly reapedBefore: number;
  readonly heldUpBy: string;
  /** Keys that any member still shows in the end, and of those that were kept how many it does not. */
  readonly resurrected: number;
  readonly missing: number;
  /** From the return of the member until all copies of all tombstones had gone. */
  readonly reapedMs: number;
  readonly reaped: number;
  /** Of all members' data directories: before the deletions, as the member came back, and in the end. */
  readonly bytesBefore: number;
  readonly bytesDeleted: number;
  readonly bytesAfter: number;
}

const MEMBERS = 3;
const BACK = 2;
const BATCH = 500;
const VALUE = "v".repeat(100);
const HINTS_MAX_AGE_S = 2;
const DROPPED_MS_MAX = 120_000;
const REAPED_MS_MAX = 300_000;
const QUIET_MS = 2_000;
const SETTINGS: ServerSettings = {
  replicas: "3",
  "hints-max-age": `${HINTS_MAX_AGE_S}`,
  "reap-interval": "2",
  "tombstone-age-min": "0",
  "anti-entropy-interval": "2",
};

export async function runDeletions(servers: Servers, options: DeletionsRunOptions): Promise<DeletionsReport> {
  const { keys, kept, say = () => {} } = options;
  const cluster = await ClusterProcesses.start(servers, { nodes: MEMBERS, settings: { ...SETTINGS, ...options.settings } });
  const all = Array.from({ length: MEMBERS }, (_, at) => at);
  const client = plainClient(cluster.port(0));
  await client.connect();
  const gone = namesOf("gone", keys);
  const staying = namesOf("kept", kept);
  for (const some of batchesOf([...gone, ...staying])) await client.mset(some.flatMap((key) => [key, VALUE]));
  await pause(QUIET_MS);
  const bytesBefore = bytesOf(cluster);
  say(`wrote ${keys + kept} keys: ${bytesBefore} bytes on the disks`);

  await cluster.kill(BACK);
  for (const some of batchesOf(gone)) await client.del(some);
  say(`deleted ${keys} of them while node-c is dead; waiting until no hint is kept for it`);
  const hintsOf = async (field: string): Promise<number> => sum(await infos(cluster, [0, 1], "hints", field));
  await until({ what: "hints are dropped for their age", withinMs: DROPPED_MS_MAX }, async () => {
    await pause(200);
    return (await hintsOf("hints_waiting")) === 0 || null;
  });
  const hintsDropped = await hintsOf("hints_dropped_old");
  const reapedBefore = sum(await infos(cluster, [0, 1], "anti-entropy", "reap_removed"));
  const heldUpBy = (await infoOf(cluster, 0, "anti-entropy")).match(/^reap_held_up_by:(.*?)\r?$/m)?.[1] ?? "";
  say(`${hintsDropped} hints were dropped; ${heldUpBy}`);
  const bytesDeleted = bytesOf(cluster);

  await cluster.restart(BACK);
  const backMs = performance.now();
  await until({ what: "all tombstones have gone", withinMs: REAPED_MS_MAX }, async () => {
    await pause(200);
    const removed = sum(await infos(cluster, all, "anti-entropy", "reap_removed"));
    const waiting = sum(await infos(cluster, all, "anti-entropy", "reap_waiting"));
    return (waiting === 0 && removed >= MEMBERS * keys) || null;
  });
  const reapedMs = performance.now() - backMs;
  const reaped = sum(await infos(cluster, all, "anti-entropy", "reap_removed"));
  say(`all tombstones have gone ${(reapedMs / 1_000).toFixed(1)} s after node-c was back`);
  let resurrected = 0;
  let missing = 0;
  for (const at of all) {
    const asked = plainClient(cluster.port(at));
    await asked.connect();
    await asked.call("CONSISTENCY", "ONE");
    resurrected += await existing(asked, gone);
    missing += kept - (await existing(asked, staying));
    asked.disconnect();
  }
  const bytesAfter = await settled(cluster, client);
  client.disconnect();
  const bytes = { bytesBefore, bytesDeleted, bytesAfter };
  return { keys, hintsDropped, reapedBefore, heldUpBy, resurrected, missing, reapedMs, reaped, ...bytes };
}

function namesOf(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}:${at}`);
}

function* batchesOf(keys: readonly string[]): Generator<string[], void, undefined> {
  for (let at = 0; at < keys.length; at += BATCH) yield keys.slice(at, at + BATCH);
}

async function existing(client: Redis, keys: readonly string[]): Promise<number> {
  let found = 0;
  for (const some of batchesOf(keys)) found += await client.exists(some);
  return found;
}

/** The bytes on the disks once they do not change any more: what is compacted in the background is done. */
async function settled(cluster: ClusterProcesses, client: Redis): Promise<number> {
  let bytes = bytesOf(cluster);
  for (;;) {
    await pause(QUIET_MS);
    // A store that is idle does not end its log; a few writes let it.
    await client.ping();
    const now = bytesOf(cluster);
    if (now >= bytes) return now;
    bytes = now;
  }
}

function bytesOf(cluster: ClusterProcesses): number {
  return cluster.members.reduce((total, { server }) => total + bytesIn(server.directory), 0);
}

function bytesIn(directory: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    // A file may go while this looks.
    bytes += entry.isDirectory() ? bytesIn(path) : (statSync(path, { throwIfNoEntry: false })?.size ?? 0);
  }
  return bytes;
}

async function infoOf(cluster: ClusterProcesses, at: number, section: string): Promise<string> {
  return String(await cluster.ask(at, "INFO", section));
}

async function infos(cluster: ClusterProcesses, members: readonly number[], section: string, field: string): Promise<number[]> {
  const texts = await Promise.all(members.map((at) => infoOf(cluster, at, section)));
  return texts.map((text) => Number(text.match(new RegExp(`^${field}:(\\d+)`, "m"))?.[1] ?? Number.NaN));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
