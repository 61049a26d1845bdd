/**
 * Finds out whether this store was put back to an earlier copy of itself: the other members then know a run of this member that it
 * does not. Each start stores a higher generation before it is told to anybody, so a store that was not put back knows of the last one
 * that others can have heard of.
 */
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Peers } from "../peer/peer.js";
import { decodePastAnswer, encodeReapRequest } from "./reap-messages.js";
import { AnswerStatus, ReplicaKind } from "./replica-messages.js";

const CALL_MS = 1_000;
/** So long links are waited for: a member that starts among others has them by then. */
const LINKS_MS = 500;
const LOOK_MS = 20;

export interface RollbackQuestion {
  readonly peers: Pick<Peers, "call" | "isUsable">;
  readonly clock: Clock;
  readonly ringVersion: number;
  readonly others: readonly MemberId[];
  /** As stored when this run began, and of this run. */
  readonly last: number;
  readonly generation: number;
}

/** False also where nobody can be asked: then nobody has gone on meanwhile, or it is not known yet. */
export async function wasPutBack({ peers, clock, ringVersion, others, last, generation }: RollbackQuestion): Promise<boolean> {
  const untilMs = clock.monotonicMs() + LINKS_MS;
  while (!others.every((id) => peers.isUsable(id)) && clock.monotonicMs() < untilMs) await pause(clock, LOOK_MS);
  const payload = encodeReapRequest({ what: "past", ringVersion, generation });
  const ask = async (to: MemberId): Promise<number> => {
    try {
      const answer = await peers.call({ to, kind: ReplicaKind.reap, payload, deadlineMs: clock.monotonicMs() + CALL_MS });
      return answer[0] === AnswerStatus.ok ? decodePastAnswer(answer) : 0;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return 0;
    }
  };
  const pasts = await Promise.all(others.filter((id) => peers.isUsable(id)).map(ask));
  return pasts.some((past) => past > last);
}
