/** What a node does before it tells anybody what it holds: it makes sure that this is not of a time before something was reaped. */
import type { Cluster } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import { placeTakenBy } from "../cluster/restored-member.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Peers } from "../peer/peer.js";
import type { MetaStore } from "../replica/meta-store.js";
import { clearReapedSince, type RestoredClearingOptions } from "../replica/restored-clearing.js";
import { markRestored, restoredAtMs } from "../replica/restored-mark.js";
import type { StoreIdentity } from "../replica/store-identity.js";

/** So long links are waited for: a member that starts among others has them by then, or was refused. */
const LINKS_MS = 500;
const LOOK_MS = 20;

export interface ForgottenPast extends Omit<RestoredClearingOptions, "peers" | "ringVersion" | "others"> {
  readonly peers: Peers;
  readonly cluster: Cluster;
  readonly identity: StoreIdentity;
  /** The store has been in use before this run. */
  readonly hasRun: boolean;
}

/**
 * REQUIRES that a ring is known. While none of the others can be asked this node serves all the same: those that know a later run of it
 * refuse links (`putBack`) before anything is exchanged. Rejects with IO or CORRUPT, and with CLOSED when it is cancelled.
 */
export async function forgetPast(options: ForgottenPast): Promise<void> {
  const { peers, meta, clock, cluster, identity, hasRun } = options;
  const predecessor = placeTakenBy(meta);
  const others = (): MemberId[] =>
    cluster.ring.document.members.map(({ id }) => id).filter((id) => id !== cluster.selfId && id !== predecessor);
  if (hasRun && others().length > 0) {
    const untilMs = clock.monotonicMs() + LINKS_MS;
    const isAsked = (): boolean => restoredAtMs(meta) !== null || others().every((id) => peers.isUsable(id));
    while (!isAsked() && clock.monotonicMs() < untilMs) await pause(clock, LOOK_MS);
    // In a run that nobody has heard of dots may have been given that this one would give again.
    if (!others().some((id) => peers.isUsable(id))) identity.beginEpoch();
  }
  const mayBeOld = restoredAtMs(meta) !== null;
  await clearReapedSince({ ...options, ringVersion: () => cluster.ring.document.version, others });
  if (mayBeOld) cluster.settleRuns();
}

export interface PutBackOptions {
  readonly meta: MetaStore;
  readonly identity: StoreIdentity;
  readonly clock: Clock;
  readonly log: Log;
  /** This node serves already. */
  readonly isServing: boolean;
}

/** Others know a later run of this member: its store is taken for a restored one from now on. */
export function putBack({ meta, identity, clock, log, isServing }: PutBackOptions): void {
  if (restoredAtMs(meta) !== null) return;
  const text =
    "this data directory is an earlier copy of itself: others know a later run of this member (kindred restore is the way to go back)";
  log.warn({}, isServing ? `${text}; this node stops, and makes up for it when it is started again` : text);
  try {
    identity.beginEpoch();
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    // The others refuse the next link, too, and it is tried again.
    return log.error({ code: error.code }, `it could not be noted that this store was put back: ${messageOf(error)}`);
  }
  markRestored(meta, clock.wallMs());
}
