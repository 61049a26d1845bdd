/** How far members are with taking in slots: what this one tells others, and what it was told of them. */
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import { PeerCallError, type PeerRequest, type Peers } from "../peer/peer.js";
import { decodeIntakeAnswer, decodeIntakeRequest, encodeIntakeAnswer, encodeIntakeRequest } from "./intake-messages.js";
import { AnswerStatus, ReplicaKind, ReplicaKindSince } from "./replica-messages.js";
import type { IntakeProgress, SlotIntake } from "./slot-intake.js";

const ANSWER_MS_MAX = 2_000;

export interface IntakesOptions {
  readonly selfId: MemberId;
  readonly peers: Pick<Peers, "call" | "serve">;
  readonly clock: Clock;
  readonly own: SlotIntake;
}

export class Intakes {
  readonly #options: IntakesOptions;
  /** What others told of the change that `#since` says, the version of the ring that it came with. */
  readonly #told = new Map<MemberId, IntakeProgress>();
  #since = 0;

  constructor(options: IntakesOptions) {
    this.#options = options;
  }

  serve(): void {
    this.#options.peers.serve(ReplicaKind.intake, (request) => this.#answer(request), ReplicaKindSince.intake);
  }

  /**
   * Whether a member holds what it is to own by the change that is under way in this ring. Rejects with an `OperatingError`, also
   * for one of an earlier protocol: it takes nothing in until it is upgraded.
   */
  async hasTakenIn(member: MemberId, { change, document: { version } }: Ring): Promise<boolean> {
    const { selfId, own, peers, clock } = this.#options;
    if (member === selfId) return own.progress(version)?.isDone === true;
    const payload = encodeIntakeRequest(version);
    const deadlineMs = clock.monotonicMs() + ANSWER_MS_MAX;
    const answer = await peers.call({ to: member, kind: ReplicaKind.intake, payload, deadlineMs }).catch(inWords);
    if (answer[0] !== AnswerStatus.ok) return false;
    const progress = decodeIntakeAnswer(answer);
    if (change !== null && change.since !== this.#since) {
      this.#since = change.since;
      this.#told.clear();
    }
    this.#told.set(member, progress);
    return progress.isDone;
  }

  /** All that is known here of the change that is under way: of this member, and, where it drives the change, of the others. */
  *known({ change }: Ring): Generator<[MemberId, IntakeProgress], void, undefined> {
    const { selfId, own } = this.#options;
    if (change === null) return;
    if (own.current !== null) yield [selfId, own.current];
    if (change.since === this.#since) yield* this.#told;
  }

  #answer(request: PeerRequest): void {
    const progress = this.#options.own.progress(decodeIntakeRequest(request.payload));
    request.answer(progress === null ? Buffer.of(AnswerStatus.staleRing) : encodeIntakeAnswer(progress));
  }
}

/** Which call it was says nothing to people. */
function inWords(error: unknown): never {
  if (error instanceof PeerCallError && error.failure === "NO_HANDLER") throw new OperatingError("UNAVAILABLE", error.reason);
  throw error;
}
