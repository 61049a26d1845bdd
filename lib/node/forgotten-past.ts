/** What a node does before it tells anybody what it holds: it makes sure that this is not of a time before something was reaped. */
import type { Cluster } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import { generationOf } from "../cluster/member-record.js";
import { placeTakenBy } from "../cluster/restored-member.js";
import type { Peers } from "../peer/peer.js";
import { clearReapedSince, type RestoredClearingOptions } from "../replica/restored-clearing.js";
import { markRestored } from "../replica/restored-mark.js";
import { wasPutBack } from "../replica/rollback.js";

export interface ForgottenPast extends Omit<RestoredClearingOptions, "peers" | "ringVersion" | "others"> {
  readonly peers: Peers;
  readonly cluster: Cluster;
  /** Of the run before this one, as it is stored; 0 for none. */
  readonly lastGeneration: number;
}

/** REQUIRES that a ring is known. Rejects with IO or CORRUPT, and with CLOSED when it is cancelled. */
export async function forgetPast(options: ForgottenPast): Promise<void> {
  const { peers, meta, clock, log, cluster, lastGeneration } = options;
  const predecessor = placeTakenBy(meta);
  const others = (): MemberId[] =>
    cluster.ring.document.members.map(({ id }) => id).filter((id) => id !== cluster.selfId && id !== predecessor);
  const ringVersion = (): number => cluster.ring.document.version;
  const run = { last: lastGeneration, generation: generationOf(meta) };
  const question = { peers, clock, ringVersion: ringVersion(), others: others(), ...run };
  if (lastGeneration > 0 && (await wasPutBack(question))) {
    log.warn(
      {},
      "this data directory is an earlier copy of itself: others know a later run of this member (kindred restore is the way to go back)",
    );
    markRestored(meta, clock.wallMs());
  }
  await clearReapedSince({ ...options, ringVersion, others });
}
