/**
 * A member's part in reaping (agreed-reaping.ts): says what it knows of the slots and keys that another one is about to have
 * reaped, and removes what all have agreed on. Answers only the ring that it knows itself.
 */
import { background } from "../background.js";
import { digestOf } from "../causality/record-digest.js";
import { RecordView } from "../causality/record-view.js";
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Lsm } from "../lsm/lsm.js";
import type { PeerRequest, Peers } from "../peer/peer.js";
import { hashOfDataKey, slotOfDataKey } from "./data-key.js";
import type { Hints } from "./hints.js";
import type { KeyDigest } from "./key-digests.js";
import {
  decodeReapRequest,
  encodeFlagsAnswer,
  encodeLastAnswer,
  encodeMarkAnswer,
  encodeRemoveAnswer,
  type Mark,
  type ReapRequest,
} from "./reap-messages.js";
import type { Records, Replica } from "./replica.js";
import { AnswerStatus, ReplicaKind, ReplicaKindSince } from "./replica-messages.js";
import { SlotReaps } from "./slot-reaps.js";
import { type SlotSpan, slotsOf } from "./slot-spans.js";
import type { StoreIdentity } from "./store-identity.js";

/** Requests that are worked on at once. Past it they are refused with BUSY. */
const WORKING_MAX = 1_024;
/** What has come may be read a little later than what came after it on another connection. */
const READ_MS = 50;
/** How wrong a member may be about another one's clock when it judges whether a request is late. */
const CLOCKS_MS = 1_000;
const READ_AT_ONCE = 64;
const STALE_RING = Buffer.of(AnswerStatus.staleRing);
const OK = Buffer.of(AnswerStatus.ok);

export interface ReapServiceOptions {
  readonly selfId: MemberId;
  readonly peers: Pick<Peers, "serve" | "instance">;
  readonly replica: Replica;
  readonly hints: Hints;
  readonly lsm: Pick<Lsm, "sync" | "read" | "put">;
  readonly identity: Pick<StoreIdentity, "storeId" | "epoch">;
  readonly clock: Clock;
  /** What is known of others' runs is on the disk when this returns. Throws IO. */
  readonly saveRuns: () => void;
  /** Read at each use. */
  readonly settings: { readonly requestTimeoutMs: number };
}

export class ReapService {
  readonly #options: ReapServiceOptions;
  readonly #reaps: SlotReaps;
  readonly #instance: string;
  #ring: Ring | null = null;
  #working = 0;
  #isEnded = false;
  #endWait: () => void = () => {};
  readonly #ended = new Promise<void>((resolve) => {
    this.#endWait = resolve;
  });
  /** Records that left, and those out of whose contexts something did, since the start. */
  removed = 0;
  pruned = 0;

  constructor(options: ReapServiceOptions) {
    this.#options = options;
    this.#reaps = new SlotReaps(options.lsm);
    this.#instance = options.peers.instance.toString("latin1");
  }

  serve(): void {
    const onReap = (request: PeerRequest): void => background(this.#serve(request, decodeReapRequest(request.payload)));
    this.#options.peers.serve(ReplicaKind.reap, onReap, ReplicaKindSince.reap);
  }

  /** This node is about to stop: nobody waits any more for what it had begun. */
  end(): void {
    this.#isEnded = true;
    this.#endWait();
  }

  update(ring: Ring): void {
    this.#ring = ring;
  }

  async #serve(request: PeerRequest, asked: ReapRequest): Promise<void> {
    if (this.#working >= WORKING_MAX) return request.refuse("BUSY", "too much is reaped at once");
    this.#working++;
    try {
      request.answer(await this.answer(asked));
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    } finally {
      this.#working--;
    }
  }

  /** The answer to what another member asks, or this one itself. Rejects with IO or CORRUPT. */
  async answer(asked: ReapRequest): Promise<Buffer> {
    if (!this.#isOfRing(asked.ringVersion)) return STALE_RING;
    const answer = await this.#answerTo(asked);
    // What was found out by another ring than the one that is known now is worth nothing.
    return this.#isOfRing(asked.ringVersion) ? answer : STALE_RING;
  }

  #isOfRing(version: number): boolean {
    return this.#ring?.document.version === version;
  }

  async #answerTo(asked: ReapRequest): Promise<Buffer> {
    switch (asked.what) {
      case "mark":
        return this.#mark(asked.spans);
      case "confirm":
        return this.#confirm(asked.keys);
      case "fence":
        return this.#fence();
      case "check":
        return this.#check(asked.mark, asked.spans);
      case "remove":
        return this.#remove(asked);
      case "last":
        return encodeLastAnswer(await Promise.all([...slotsOf(asked.spans)].map((slot) => this.#reaps.last(slot))));
    }
  }

  /** Which slots this member keeps anything of outside the owners' copies, as of a moment that later answers refer to. */
  async #mark(spans: readonly SlotSpan[]): Promise<Buffer> {
    const { hints, identity, lsm } = this.#options;
    const mark: Mark = { instance: this.#instance, tag: hints.lastTag };
    const hinted = await hints.slots();
    const heldUp = [...slotsOf(spans)].map((slot) => hinted === null || hinted.has(slot) || this.#isLeftOver(slot));
    // A hint or a record whose removal a crash takes back is still there.
    await lsm.sync();
    return encodeMarkAnswer({ mark, storeId: identity.storeId, epoch: identity.epoch, heldUp });
  }

  /** True where this member keeps, or may keep, records of a slot that is not its own. */
  #isLeftOver(slot: number): boolean {
    const { replica, selfId } = this.#options;
    const ring = this.#ring!;
    const self = ring.indexOf(selfId);
    if (ring.isChanging(slot)) return true;
    return (self === null || !ring.current.isReplica(slot, self)) && replica.digests.sumOf(slot) !== 0;
  }

  /** Whether this member's records are these, and no crash makes others of them. */
  async #confirm(keys: readonly KeyDigest[]): Promise<Buffer> {
    const same: boolean[] = [];
    for (let at = 0; at < keys.length; at += READ_AT_ONCE) {
      const digests = await Promise.all(keys.slice(at, at + READ_AT_ONCE).map(({ dataKey }) => this.#digestOf(dataKey)));
      for (const [index, digest] of digests.entries()) same.push(digest === keys[at + index]!.digest);
    }
    await this.#options.lsm.sync();
    return encodeFlagsAnswer(same);
  }

  async #digestOf(dataKey: string): Promise<number | null> {
    const bytes = await this.#options.replica.read(dataKey);
    if (bytes === null) return null;
    const view = new RecordView();
    view.read(bytes, 0, bytes.length);
    return digestOf(view, hashOfDataKey(dataKey));
  }

  /**
   * Waits until all is over that this member had begun. Requests of clients are so once they and what they have sent are past
   * their deadlines, and what others sent to this member is once it was merged.
   */
  async #fence(): Promise<Buffer> {
    const { replica, clock, settings, saveRuns } = this.#options;
    const { carrying, merging } = replica;
    // Whoever goes back to a time before this is known by it, also by those who start again meanwhile.
    saveRuns();
    const begun = Promise.all([carrying.passed(), pause(clock, 2 * settings.requestTimeoutMs + CLOCKS_MS)]);
    await Promise.race([begun.then(() => merging.passed()), this.#ended]);
    if (this.#isEnded) throw new OperatingError("CLOSED", "this node is stopping");
    return OK;
  }

  /** Which slots are held up by something that came up since the mark. */
  async #check({ instance, tag }: Mark, spans: readonly SlotSpan[]): Promise<Buffer> {
    const { hints, replica } = this.#options;
    await replica.merging.passed();
    const isOfThisRun = instance === this.#instance;
    return encodeFlagsAnswer([...slotsOf(spans)].map((slot) => !isOfThisRun || hints.hasGrown(slot, tag)));
  }

  async #remove({ keys, id, live }: ReapRequest & { what: "remove" }): Promise<Buffer> {
    const { replica, clock } = this.#options;
    await pause(clock, READ_MS);
    await replica.merging.passed();
    const before = { removed: this.removed, pruned: this.pruned };
    const noted = new Set<number>();
    for (const { dataKey, digest } of keys) {
      if (replica.backlog() === "stopped") await replica.room();
      const slot = slotOfDataKey(dataKey);
      await replica.queues.run(dataKey, async () => {
        if (!noted.has(slot)) {
          // Comes before what it tells of, also in the log.
          if ((await this.#digestOf(dataKey)) !== digest) return;
          await this.#reaps.note(slot, id);
          noted.add(slot);
        }
        const fetched: Records = new Map();
        let records = replica.gather([dataKey], fetched);
        for (; records === null; records = replica.gather([dataKey], fetched)) await replica.fetch([dataKey], fetched);
        const record = replica.at(dataKey, records);
        if (record === null || digestOf(record, hashOfDataKey(dataKey)) !== digest) return;
        const outcome = replica.reapAgreed(dataKey, live);
        if (outcome === "removed") this.removed++;
        if (outcome === "pruned") this.pruned++;
      });
    }
    return encodeRemoveAnswer({ removed: this.removed - before.removed, pruned: this.pruned - before.pruned });
  }
}
