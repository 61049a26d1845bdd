/**
 * Writes of a key of which no replica can be reached, made by the first healthy node after them on the ring: it mints, and keeps
 * the record as a hint for each of them. It is one of W; other nodes stand in for the rest.
 *
 * A stand-in forgets its hint once that is handed over, and with it what it minted of the key; a context entry of its actor
 * would claim what it no longer knows. So it begins a new epoch before it makes the first hint after any was handed over, and the
 * first of its run: also where it keeps something of the key, for that may have come from others, who had not seen it.
 */
import type { Record } from "../causality/record.js";
import { decodeRecord, encodeRecord } from "../causality/record-encoding.js";
import type { VersionVector } from "../causality/version-vector.js";
import { OperatingError } from "../errors.js";
import { slotOfDataKey } from "../replica/data-key.js";
import type { BeginLimit } from "./begin-limit.js";
import type { Deadline } from "./deadline.js";
import type { WriteRequest } from "./forward-messages.js";
import type { Scope } from "./keyspace.js";
import type { LocalKeyspace } from "./local-keyspace.js";
import type { QuorumContext } from "./quorum-context.js";
import { QuorumWrite } from "./quorum-write.js";
import type { SlotPlan } from "./slot-plan.js";

export class StandInWrites {
  readonly #local: LocalKeyspace;
  readonly #context: QuorumContext;
  /** `Hints.removedRecords` when the epoch began in which hints are made; -1 before the first. */
  #removedBefore = -1;

  constructor(options: { local: LocalKeyspace; context: QuorumContext }) {
    this.#local = options.local;
    this.#context = options.context;
  }

  /**
   * Resolves at W with what was seen of the key here. Rejects with BUSY where there is no room for it, and with UNAVAILABLE
   * where there was room for a part of its hints. REQUIRES a scope that was passed on, with its id.
   */
  async write(
    scope: Scope,
    dataKey: string,
    write: Pick<WriteRequest, "covered" | "value" | "expiryMs" | "writeId" | "stamp">,
  ): Promise<VersionVector> {
    const { plans } = this.#context;
    const plan = plans.of(slotOfDataKey(dataKey));
    const deadline = this.#local.deadline(scope);
    const record = await deadline.bound(
      this.#local.inTurnOf(scope, [dataKey], () =>
        this.#keep(plan, dataKey, write, { deadline, begin: scope.forwarded?.begin }),
      ),
    );
    await this.#replicate(scope, dataKey);
    return record.context;
  }

  /** Mints over the hints there are, in the key's turn, and keeps the result for all owners. */
  async #keep(
    plan: SlotPlan,
    dataKey: string,
    { covered, value, expiryMs, writeId, stamp }: Pick<WriteRequest, "covered" | "value" | "expiryMs" | "writeId" | "stamp">,
    { deadline, begin }: { readonly deadline: Deadline; readonly begin: BeginLimit | undefined },
  ): Promise<Record> {
    const { replica, hints } = this.#context;
    const kept = await hints.read(dataKey, plan.owners);
    if (deadline.isPast) throw deadline.error();
    begin?.require();
    const before = kept === null ? null : decodeRecord(kept);
    if (covered.kind !== "all" && before?.versions.some((version) => version.writeId === writeId)) return before;
    if (hints.removedRecords !== this.#removedBefore) {
      replica.beginEpoch();
      this.#removedBefore = hints.removedRecords;
    }
    replica.reserve(1);
    const record = replica.mintApart(before, covered, { value, expiryMs, writeId, stamp });
    const bytes = encodeRecord(record);
    deadline.meet();
    let isKept = false;
    for (const owner of plan.owners) {
      let outcome = hints.keep(owner, dataKey, bytes, 0, bytes.length);
      if (outcome === "unread") outcome = await hints.keepRead(owner, dataKey, bytes, 0, bytes.length);
      if (outcome === "full") throw isKept ? hasRoomForSome() : hasNoRoom();
      isKept = true;
    }
    await replica.committed();
    return record;
  }

  #replicate(scope: Scope, dataKey: string): Promise<void> {
    const { quorum, standIns } = scope.consistency;
    const deadlineMs = this.#local.deadline(scope).atMs;
    return new Promise((resolve, reject) => {
      const sink = { onResult: resolve, onFailure: reject };
      new QuorumWrite(this.#context, { dataKey, quorum, standIns, deadlineMs, plain: null, held: "as a hint", sink }).start();
    });
  }
}

function hasNoRoom(): OperatingError {
  return new OperatingError(
    "BUSY",
    "no node that keeps the key can be reached, and there is no room for hints here (hints-max-bytes)",
  );
}

/** The owners that it was kept for will have it. */
function hasRoomForSome(): OperatingError {
  return new OperatingError(
    "UNAVAILABLE",
    "no node that keeps the key can be reached, and there is room for hints for some of them only (hints-max-bytes)",
  );
}
