/** The first start of a store that was restored from a backup: it becomes who it was restored as, before anybody hears of it. */
import { unreachable } from "../assert.js";
import { becomeAlone, becomeReplacement, becomeReunited } from "../cluster/restored-member.js";
import type { Disk } from "../host/disk.js";
import type { Random } from "../host/random.js";
import { type RestoredMark, readRestoredMark, removeRestoredMark } from "../lsm/restore.js";
import type { MetaStore } from "../replica/meta-store.js";
import { markRestored } from "../replica/restored-mark.js";
import { forgetIntake } from "../replica/slot-intake.js";

export class RestoredStart {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #mark: RestoredMark | null;

  /** Throws UNAVAILABLE for a directory that is a backup, or not wholly restored. */
  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
    this.#mark = readRestoredMark(disk, directory);
  }

  /** Whether this is such a start: the store then mints an identity. */
  get isRestored(): boolean {
    return this.#mark !== null;
  }

  /** Changes the node's records, with this turn. Where a crash comes before `finish`, the next start does it again. */
  apply(meta: MetaStore, random: Random): void {
    if (this.#mark === null) return;
    const { as, without, takenMs } = this.#mark;
    switch (as) {
      case "replacement":
        becomeReplacement(meta);
        forgetIntake(meta);
        markRestored(meta, takenMs);
        return;
      case "whole cluster":
        return becomeReunited(meta, without);
      case "alone":
        becomeAlone(meta, (length) => random.bytes(length));
        return forgetIntake(meta);
      default:
        return unreachable(as);
    }
  }

  /** REQUIRES that what `apply` changed is durable. Throws IO. */
  finish(): void {
    if (this.#mark !== null) removeRestoredMark(this.#disk, this.#directory);
  }
}
