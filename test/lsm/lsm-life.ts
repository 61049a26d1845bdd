/** One engine of the simulation between a start and its end, as its clients see it, and how they compare what they see. */
import { OperatingError } from "../../lib/errors.js";
import type { Lsm, ScanPage } from "../../lib/lsm/lsm.js";
import type { FsyncPolicy } from "../../lib/lsm/lsm-settings.js";
import type { SimDisk } from "../sim/sim-disk.js";
import type { ModelOperation } from "./lsm-model.js";

/** Stands for all keys among the touched ones. */
export const EVERYTHING = "\xffeverything";

export class Life {
  readonly engine: Lsm;
  readonly disk: SimDisk;
  readonly appended: { readonly number: number; readonly bytes: number }[] = [];
  isFailed = false;
  readonly #fsync: FsyncPolicy;

  /** The scan under way, and the keys written since it started. */
  scan: Promise<void> | null = null;
  touched: Set<string> | null = null;

  constructor(engine: Lsm, disk: SimDisk, fsync: FsyncPolicy) {
    this.engine = engine;
    this.disk = disk;
    this.#fsync = fsync;
  }

  touch(operation: ModelOperation): void {
    if (operation.kind === "clear") this.touched?.add(EVERYTHING);
    else if (operation.kind !== "count") this.touched?.add(operation.key);
  }

  checkMayAcknowledge(): void {
    if (this.isFailed) throw new Error("something was acknowledged after a failed sync");
  }

  /** After a failed sync nothing is acknowledged and nothing is written. */
  checkFailure(): void {
    if (!this.isFailed) return;
    if (this.engine.isAcknowledged) throw new Error(`isAcknowledged after a failed sync (${this.#fsync})`);
    this.engine.put("x", Buffer.alloc(1), 0, 1);
    try {
      this.engine.commit();
    } catch (error) {
      return requireIo(error);
    }
    throw new Error("a batch was written after a failed sync");
  }
}

/** All entries, page by page, with a check of their order. */
export async function scanAll(engine: Lsm, limit: number): Promise<Map<string, Buffer>> {
  const entries = new Map<string, Buffer>();
  let last: string | null = null;
  for (let from: string | null = ""; from !== null; ) {
    const page: ScanPage = await engine.scan({ from, to: null, limit, values: "with" });
    if (page.entries.length > limit) throw new Error("a page of a scan is too long");
    for (const { key, value } of page.entries) {
      if (last !== null && key <= last) throw new Error("a scan is out of order");
      last = key;
      entries.set(key, value!);
    }
    from = page.next;
  }
  return entries;
}

export function apply(engine: Lsm, operation: ModelOperation): void {
  switch (operation.kind) {
    case "put":
      engine.put(operation.key, operation.value, 0, operation.value.length);
      break;
    case "remove":
      engine.remove(operation.key);
      break;
    case "count":
      engine.count(operation.index, operation.delta);
      break;
    case "clear":
      engine.clear();
      break;
  }
}

export function requireEqual(key: string, have: Uint8Array | undefined, want: Buffer | undefined): void {
  const isEqual = have === undefined || want === undefined ? have === want : want.equals(have);
  if (isEqual) return;
  const show = (value: Uint8Array | undefined) => (value === undefined ? "nothing" : `${value.length} bytes`);
  throw new Error(`key ${JSON.stringify(key)} holds ${show(have)} instead of ${show(want)}`);
}

/** The disk refuses, or does not keep up. */
export function requireRefusal(error: unknown): void {
  if (!(error instanceof OperatingError) || (error.code !== "IO" && error.code !== "BUSY")) throw error;
}

export function requireCorrupt(error: unknown): void {
  if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
}

export function requireIo(error: unknown): void {
  if (!(error instanceof OperatingError) || error.code !== "IO") throw error;
}
