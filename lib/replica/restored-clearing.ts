/**
 * What a store holds of slots from which something was reaped since it was copied, or since it lost data, may be what was removed:
 * nothing says so any more. So before such a store tells anybody what it holds, it asks all other members when each slot was
 * reaped last (slot-reaps.ts), and clears those that were reaped later than it knows of, hints of them too. Others refill them.
 */

import { SLOTS } from "../bytes/slot.js";
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Lsm } from "../lsm/lsm.js";
import type { Peers } from "../peer/peer.js";
import { DATA_END, dataKeyFloor, slotOfDataKey } from "./data-key.js";
import type { Hints } from "./hints.js";
import type { MetaStore } from "./meta-store.js";
import { decodeLastAnswer, encodeReapRequest } from "./reap-messages.js";
import type { Replica } from "./replica.js";
import { AnswerStatus, ReplicaKind } from "./replica-messages.js";
import { clearRestoredMark, restoredAtMs } from "./restored-mark.js";
import { SlotReaps } from "./slot-reaps.js";
import { ALL_SLOTS } from "./slot-spans.js";

const CALL_MS = 5_000;
const AGAIN_MS = 500;
const SAID_EVERY_MS = 30_000;
const PAGE = 512;

export interface RestoredClearingOptions {
  readonly peers: Pick<Peers, "call">;
  readonly replica: Replica;
  readonly hints: Hints;
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly ringVersion: () => number;
  /** All that have to answer: the members but this one, and the one whose place it takes. */
  readonly others: () => readonly MemberId[];
  readonly nameOf: (member: MemberId) => string;
  readonly isCancelled: () => boolean;
}

/**
 * Does nothing to a store that was neither restored nor salvaged. Waits until all other members have answered: who is gone for good
 * is to be removed. Rejects with IO or CORRUPT, and with CLOSED when it is cancelled.
 */
export async function clearReapedSince(options: RestoredClearingOptions): Promise<void> {
  const { meta, lsm, log } = options;
  if (restoredAtMs(meta) === null) return;
  const latest = await latestReaps(options);
  const own = new SlotReaps(lsm);
  const cleared = new Set<number>();
  for (let slot = 0; slot < SLOTS; slot++) if (latest[slot]! > 0 && (await own.last(slot)) < latest[slot]!) cleared.add(slot);
  let records = 0;
  for (const slot of cleared) {
    records += await clearSlot(options, slot);
    await own.note(slot, latest[slot]!);
  }
  const hints = await clearHints(options, cleared);
  await lsm.committed();
  clearRestoredMark(meta);
  if (cleared.size === 0) return;
  log.info(
    { slots: cleared.size, records, hints },
    "forgot what this store held of slots that were reaped since it was copied",
  );
}

/** Of each slot the id of its last reap that any other member knows of. */
async function latestReaps(options: RestoredClearingOptions): Promise<Float64Array> {
  const { clock, log, others, nameOf, isCancelled } = options;
  const latest = new Float64Array(SLOTS);
  const answered = new Set<MemberId>();
  let saidMs = Number.NEGATIVE_INFINITY;
  for (;;) {
    const missing = others().filter((member) => !answered.has(member));
    if (missing.length === 0) return latest;
    let complaint = "";
    for (const member of missing) {
      try {
        for (const [slot, id] of (await lastReapsOf(options, member)).entries()) latest[slot] = Math.max(latest[slot]!, id);
        answered.add(member);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        complaint = `${nameOf(member)}: ${messageOf(error)}`;
      }
    }
    if (complaint !== "" && clock.monotonicMs() - saidMs > SAID_EVERY_MS) {
      saidMs = clock.monotonicMs();
      log.warn(
        {},
        `this restored store waits for all other members, to hear what was removed for good meanwhile (${complaint})`,
      );
    }
    await pause(clock, AGAIN_MS);
    if (isCancelled()) throw new OperatingError("CLOSED", "this node was stopped before it was ready");
  }
}

async function lastReapsOf({ peers, clock, ringVersion }: RestoredClearingOptions, member: MemberId): Promise<number[]> {
  const payload = encodeReapRequest({ what: "last", ringVersion: ringVersion(), spans: ALL_SLOTS });
  const deadlineMs = clock.monotonicMs() + CALL_MS;
  const answer = await peers.call({ to: member, kind: ReplicaKind.reap, payload, deadlineMs });
  if (answer[0] !== AnswerStatus.ok) throw new OperatingError("UNAVAILABLE", "it knows another ring than this member");
  return decodeLastAnswer(answer, ALL_SLOTS);
}

/** Returns how many records there were. */
async function clearSlot({ replica, clock }: RestoredClearingOptions, slot: number): Promise<number> {
  const to = slot + 1 === SLOTS ? DATA_END : dataKeyFloor(slot + 1, 0, 0);
  let records = 0;
  for (let from: string | null = dataKeyFloor(slot, 0, 0); from !== null; ) {
    if (replica.backlog() === "stopped") await replica.room();
    const page: Awaited<ReturnType<Replica["scan"]>> = await replica.scan({ from, to, limit: PAGE, values: "with" });
    for (const { key, value } of page.entries) {
      replica.view(value);
      replica.remove(key);
      records++;
    }
    from = page.next;
    await pause(clock, 0);
  }
  return records;
}

async function clearHints({ hints, clock }: RestoredClearingOptions, slots: ReadonlySet<number>): Promise<number> {
  let removed = 0;
  for (const { target } of [...hints.totals()]) {
    for (let from: string | null = null; ; ) {
      const page: Awaited<ReturnType<Hints["page"]>> = await hints.page(target, from);
      for (const hint of page.hints) if (slots.has(slotOfDataKey(hint.dataKey)) && (await hints.remove(hint))) removed++;
      if (page.next === null) break;
      from = page.next;
      await pause(clock, 0);
    }
  }
  return removed;
}
