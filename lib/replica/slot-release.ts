/**
 * Gives the space of slots back that this member owns no longer: once every owner of the slot holds all that is here of it. What an
 * owner lacks is given to it first. Where an owner cannot be reached, or a change of the ring touches the slot, it stays.
 *
 * Owners go on writing, so their copies need not equal this one: it is enough that they have merged it.
 */
import { background } from "../background.js";
import { SLOTS } from "../bytes/slot.js";
import { digestOf } from "../causality/record-digest.js";
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { messageOf, OperatingError } from "../errors.js";
import { pause, type Timer } from "../host/clock.js";
import type { Log } from "../log.js";
import { hashOfDataKey } from "./data-key.js";
import type { Records } from "./replica.js";
import { keysOfSlot } from "./slot-keys.js";
import { TokenBucket } from "./token-bucket.js";
import { type ExchangeNode, TreeExchange } from "./tree-exchange.js";
import { type KeyDigest, PLACES } from "./tree-messages.js";

const LOOK_EVERY_MS = 5_000;
const PAGE_RECORDS = 256;

export interface SlotReleaseOptions extends ExchangeNode {
  readonly selfId: MemberId;
  readonly log: Log;
}

export class SlotRelease {
  readonly #options: SlotReleaseOptions;
  readonly #bucket = new TokenBucket();
  #ring: Ring | null = null;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #isStopped = false;
  /** Records that were removed with slots, since the start. */
  released = 0;

  constructor(options: SlotReleaseOptions) {
    this.#options = options;
  }

  update(ring: Ring): void {
    this.#ring = ring;
    this.#timer ??= this.#later();
  }

  /** Slots with records here that this member neither owns nor is to own. */
  foreign(): number[] {
    const { replica, selfId } = this.#options;
    const ring = this.#ring;
    const self = ring?.indexOf(selfId) ?? null;
    if (ring === null || self === null) return [];
    const slots: number[] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      if (ring.current.isReplica(slot, self) || ring.isChanging(slot)) continue;
      const sum = replica.digests.sumOf(slot);
      if (sum !== null && sum !== 0) slots.push(slot);
    }
    return slots;
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #later(): Timer {
    return this.#options.clock.after(LOOK_EVERY_MS, () => {
      this.#running = this.#look().finally(() => {
        this.#running = null;
        if (!this.#isStopped) this.#timer = this.#later();
      });
      background(this.#running);
    });
  }

  async #look(): Promise<void> {
    const { log } = this.#options;
    const before = this.released;
    for (const slot of this.foreign()) {
      if (this.#isStopped) return;
      try {
        if (!(await this.#options.replica.carrying.during(() => this.#release(slot)))) break;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        log.warn({ slot, code: error.code }, `a slot that others own by now stays here for now: ${messageOf(error)}`);
        break;
      }
    }
    const records = this.released - before;
    if (records > 0) log.info({ records }, "removed records of slots that others own by now");
  }

  /** False where that is not possible now. */
  async #release(slot: number): Promise<boolean> {
    const { peers, replica } = this.#options;
    const ring = this.#ring!;
    const owners = [...ring.current.replicas(slot)].map((index) => ring.members[index]!.id);
    if (owners.length === 0 || !owners.every((owner) => peers.isUsable(owner))) return false;
    // What changes from now on is given to them with the next look.
    const listed = await this.#list(slot);
    for (const owner of owners) {
      const exchange = new TreeExchange(this.#options, owner, { bucket: this.#bucket, isWanted: () => true });
      if (!(await exchange.give(slot))) return false;
    }
    if (ring !== this.#ring) return true;
    for (const key of listed) await this.#remove(key);
    await replica.committed();
    return true;
  }

  async #list(slot: number): Promise<KeyDigest[]> {
    const { replica, clock } = this.#options;
    const listed: KeyDigest[] = [];
    for (let from = 0; from < PLACES; ) {
      const { keys, end } = await keysOfSlot(replica, slot, { from, to: PLACES, wanted: PAGE_RECORDS });
      listed.push(...keys);
      from = end;
      if (from < PLACES) await pause(clock, 0);
    }
    return listed;
  }

  /** Removes a record, unless it is another by now. */
  async #remove({ dataKey, digest }: KeyDigest): Promise<void> {
    const { replica } = this.#options;
    if (replica.backlog() === "stopped") await replica.room();
    await replica.queues.run(dataKey, async () => {
      const fetched: Records = new Map();
      let records = replica.gather([dataKey], fetched);
      for (; records === null; records = replica.gather([dataKey], fetched)) await replica.fetch([dataKey], fetched);
      const record = replica.at(dataKey, records);
      if (record === null || digestOf(record, hashOfDataKey(dataKey)) !== digest) return;
      replica.remove(dataKey);
      this.released++;
    });
  }
}
