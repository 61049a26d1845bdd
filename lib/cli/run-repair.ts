/** `kindred repair`: has a running node compare its copies with others', and waits until it has. */
import type { RepairReply } from "../commands/cluster-operations.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import { askNode, tellNode } from "./ask-node.js";
import type { RingQuestion } from "./inspect-ring.js";
import type { RepairOptions } from "./program.js";
import { bytes, count, plural } from "./table.js";

const POLL_MS = 500;

export interface RepairRun extends RingQuestion {
  readonly clock: Clock;
  /** Shows a line in the place of the last one. */
  readonly onProgress: (text: string) => void;
}

/** Resolves with whether all could be compared and repaired. Rejects with UNAVAILABLE. */
export async function runRepair({ slot, peer, isFull }: RepairOptions, run: RepairRun): Promise<boolean> {
  const { target, clock, format, output, onProgress } = run;
  const words = [
    ...(slot === null ? [] : ["SLOT", String(slot)]),
    ...(peer === null ? [] : ["MEMBER", peer]),
    ...(isFull ? ["FULL"] : []),
  ];
  await tellNode(target, ["CLUSTER", "REPAIR", ...words]);
  for (;;) {
    const reply = await askNode(target, ["CLUSTER", "REPAIR", "STATUS"]);
    if (!isRepairReply(reply)) throw new OperatingError("UNAVAILABLE", "the node's answer tells no state of a repair");
    if (reply.state === "none") throw new OperatingError("UNAVAILABLE", "the node was started anew meanwhile: ask again");
    if (reply.state === "done") {
      output(format === "json" ? `${JSON.stringify(reply, null, 2)}\n` : `${repairText(reply)}\n`);
      return reply.failed === 0;
    }
    onProgress(progressText(reply));
    await pause(clock, POLL_MS);
  }
}

/** What was found and done, for people. */
export function repairText(reply: RepairReply): string {
  const { members, slotsDiffering, taken, given, failed, complaint } = reply;
  const compared = `${failed === 0 ? "compared" : "tried to compare"} with ${plural(members, "member", "members")}: `;
  const none = failed === 0 ? "all copies are equal" : "what could be compared is equal";
  const found = slotsDiffering === 0 ? none : `${plural(slotsDiffering, "slot", "slots")} differed`;
  const done = `; took ${plural(taken, "record", "records")}, gave ${plural(given, "record", "records")}, ${bytes(reply.bytes)} sent and received`;
  const failures = failed === 0 ? "" : `\n${plural(failed, "failure", "failures")}, the last: ${complaint}`;
  return `${compared}${found}${done}${failures}`;
}

function progressText({ state, slotsUnknown, membersDone, members, taken, given }: RepairReply): string {
  if (state === "summing up") return `reading all records: ${count(slotsUnknown)} slots left`;
  return `comparing: ${membersDone} of ${plural(members, "member", "members")}, ${count(taken + given)} records repaired`;
}

function isRepairReply(answer: unknown): answer is RepairReply {
  return typeof (answer as Readonly<Record<string, unknown>>).state === "string";
}
