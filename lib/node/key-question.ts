/** What a member holds of a key: for CLUSTER WHERE. */
import { decodeRecord } from "../causality/record-encoding.js";
import type { Cluster } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import type { WhereAnswer } from "../commands/cluster-view.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Peers } from "../peer/peer.js";
import type { Replica } from "../replica/replica.js";
import { AnswerStatus, ReplicaKind, readBytesMax, writeRead } from "../replica/replica-messages.js";
import { whereAnswerOf } from "./ring-view.js";

const ANSWER_MS_MAX = 2_000;

export interface KeyQuestion {
  readonly clock: Clock;
  readonly cluster: Cluster;
  readonly peers: Pick<Peers, "call">;
  readonly replica: Pick<Replica, "read">;
}

/** Asks this node itself, too. Rejects with a `PeerCallError`, UNAVAILABLE, IO or CORRUPT. */
export async function askForKey(question: KeyQuestion, id: MemberId, dataKey: string): Promise<WhereAnswer> {
  const { clock, cluster, peers, replica } = question;
  const names = (storeId: string): string | null => cluster.nameOfStore(storeId);
  const answerOf = (bytes: Buffer | null): WhereAnswer =>
    whereAnswerOf(bytes === null || bytes.length === 0 ? null : decodeRecord(bytes), { names, nowMs: clock.wallMs() });
  if (id === cluster.selfId) return answerOf(await replica.read(dataKey));
  const payload = Buffer.alloc(readBytesMax(dataKey));
  const end = writeRead(payload, 0, { ringVersion: cluster.ring.document.version, dataKey, from: "records" });
  const deadlineMs = clock.monotonicMs() + ANSWER_MS_MAX;
  const answer = await peers.call({ to: id, kind: ReplicaKind.read, payload: payload.subarray(0, end), deadlineMs });
  if (answer[0] !== AnswerStatus.ok) throw new OperatingError("UNAVAILABLE", "it knows a newer ring; try again");
  return answerOf(answer.subarray(1));
}
