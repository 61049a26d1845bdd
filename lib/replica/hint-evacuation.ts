/**
 * A member that is about to leave gives away what it keeps for others: to its target where that is up (the handover does that), else
 * to another member, which keeps it from then on. A mark goes as the record that it stands for. New hints are refused from the
 * beginning, so that there is an end.
 */
import { forSending } from "../causality/record-encoding.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Lsm } from "../lsm/lsm.js";
import type { Peers } from "../peer/peer.js";
import { encodedRecordOf } from "./encoded-record.js";
import type { Hint, Hints } from "./hints.js";
import { AnswerStatus, ReplicaKind, storeBytesMax, writeStore } from "./replica-messages.js";
import { TokenBucket } from "./token-bucket.js";

const CALL_MS = 5_000;
const AT_ONCE = 32;
/** Between two looks at what is left for targets that are up. */
const LOOK_MS = 200;

export interface EvacuationOptions {
  readonly hints: Hints;
  readonly lsm: Pick<Lsm, "read" | "committed">;
  readonly peers: Pick<Peers, "call" | "isUsable">;
  readonly clock: Clock;
  readonly ringVersion: () => number;
  /** Members that stay, this one not among them. */
  readonly heirs: () => readonly MemberId[];
  /** Bytes a second. Read at each use. */
  readonly settings: { readonly handoffRateBytes: number };
  readonly isCancelled: () => boolean;
}

/** Resolves when no hint is left here. Rejects with UNAVAILABLE where nobody takes one, and with CLOSED, IO or CORRUPT. */
export async function evacuateHints(options: EvacuationOptions): Promise<void> {
  const { hints, peers, clock, isCancelled } = options;
  const bucket = new TokenBucket();
  hints.close();
  while (hints.count > 0) {
    for (const { target, count } of [...hints.totals()]) {
      if (count > 0 && !peers.isUsable(target)) await passOn(options, target, bucket);
    }
    if (isCancelled()) throw new OperatingError("CLOSED", "this node is stopping");
    await pause(clock, LOOK_MS);
  }
}

async function passOn(options: EvacuationOptions, target: MemberId, bucket: TokenBucket): Promise<void> {
  const { hints, clock, settings, peers, isCancelled } = options;
  for (let from: string | null = null; ; ) {
    const page: Awaited<ReturnType<Hints["page"]>> = await hints.page(target, from);
    for (let at = 0; at < page.hints.length; at += AT_ONCE) {
      // Who is back is handed them over.
      if (peers.isUsable(target) || isCancelled()) return;
      const waitMs = bucket.waitMs(clock.monotonicMs(), settings.handoffRateBytes);
      if (waitMs > 0) await pause(clock, waitMs);
      await Promise.all(page.hints.slice(at, at + AT_ONCE).map((hint) => passOnOne(options, hint, bucket)));
    }
    if (page.next === null) return;
    from = page.next;
    await pause(clock, 0);
  }
}

async function passOnOne({ hints, lsm, ...options }: EvacuationOptions, hint: Hint, bucket: TokenBucket): Promise<void> {
  const { peers, clock, ringVersion, heirs } = options;
  const { dataKey, target } = hint;
  const own = hint.record === null ? await lsm.read(dataKey) : null;
  const record = hint.record ?? (own === null ? null : forSending(own));
  if (record === null) {
    // The mark has nothing to tell any more.
    await hints.remove(hint);
    return;
  }
  await lsm.committed();
  const payload = Buffer.allocUnsafe(storeBytesMax(dataKey, record.length));
  const head = { ringVersion: ringVersion(), hintFor: target, dataKey };
  const bytes = payload.subarray(0, writeStore(payload, 0, head, encodedRecordOf(record)));
  bucket.take(bytes.length);
  for (const heir of heirs()) {
    if (heir === target || !peers.isUsable(heir)) continue;
    const deadlineMs = clock.monotonicMs() + CALL_MS;
    const answer = await peers.call({ to: heir, kind: ReplicaKind.handover, payload: bytes, deadlineMs });
    if (answer[0] !== AnswerStatus.ok) continue;
    await hints.remove(hint);
    return;
  }
  throw new OperatingError("UNAVAILABLE", `no other member has room for what is kept here for ${target} (hints-max-bytes)`);
}
