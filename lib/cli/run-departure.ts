/** `kindred leave` and `kindred remove`: have a running node change the ring, and wait until that is done. */
import type { PendingRow, StatusReply, TransferRow } from "../commands/cluster-view.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import { askNode, tellNode } from "./ask-node.js";
import type { RingQuestion } from "./inspect-ring.js";
import { bytes, count, plural } from "./table.js";

const POLL_MS = 500;
/** A node that has left stops within this time. */
const STOP_MS_MAX = 30_000;

export interface DepartureRun extends RingQuestion {
  readonly clock: Clock;
  /** Shows a line in the place of the last one. */
  readonly onProgress: (text: string) => void;
}

/** Resolves when the node that was asked has left and stopped. Rejects with UNAVAILABLE. */
export async function runLeave({ isForced }: { isForced: boolean }, run: DepartureRun): Promise<void> {
  const { target, clock, output, format } = run;
  const before = await statusOf(run);
  const self = before.members.find(({ isSelf }) => isSelf);
  if (self === undefined) throw new OperatingError("UNAVAILABLE", "this node is no member of a cluster");
  const note = await tellNode(target, ["CLUSTER", "LEAVE", ...(isForced ? ["FORCE"] : [])]);
  if (note !== "") run.onProgress(note);
  let leftMs: number | null = null;
  for (;;) {
    await pause(clock, POLL_MS);
    let status: StatusReply;
    try {
      status = await statusOf(run);
    } catch (error) {
      // It has stopped, or is about to.
      if (!(error instanceof OperatingError) || !(await hasStopped(run, leftMs))) throw error;
      break;
    }
    if (status.members.some(({ id }) => id === self.id)) run.onProgress(progressText(status, self.id));
    else leftMs ??= clock.monotonicMs();
    if (leftMs !== null && clock.monotonicMs() - leftMs > STOP_MS_MAX) break;
  }
  const done = `${self.name} has left its cluster and stopped; its data directory is of no use any more`;
  const fewer = fewerCopiesText(before, self);
  const text = fewer === null ? done : `${done}\n${fewer}`;
  output(format === "json" ? `${JSON.stringify({ left: self.id, name: self.name })}\n` : `${text}\n`);
}

/** Nothing answers at its port any more: looked at a few times, since one question may fail for other reasons. */
async function hasStopped({ target, clock }: DepartureRun, leftMs: number | null): Promise<boolean> {
  for (let looks = leftMs === null ? 3 : 1; looks > 0; looks--) {
    await pause(clock, POLL_MS);
    try {
      await askNode(target, ["CLUSTER", "STATUS"]);
      return false;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
    }
  }
  return true;
}

/** Resolves when the members are none any more. Rejects with UNAVAILABLE. */
export async function runRemove(
  members: readonly string[],
  { isForced }: { isForced: boolean },
  run: DepartureRun,
): Promise<void> {
  const { target, clock, output, format } = run;
  const before = await statusOf(run);
  const meant = before.members.filter(({ id, name }) => members.includes(id) || members.includes(name));
  const note = await tellNode(target, ["CLUSTER", "REMOVE", ...members, ...(isForced ? ["FORCE"] : [])]);
  const isMeant = ({ id }: { readonly id: string }): boolean => meant.some((member) => member.id === id);
  for (;;) {
    const status = await statusOf(run);
    if (!status.members.some(isMeant) && !status.pending.some(isMeant)) break;
    run.onProgress(progressText(status, meant[0]?.id ?? members[0]!));
    await pause(clock, POLL_MS);
  }
  const removed = meant.map(({ id }) => id);
  const names = meant.length === 0 ? members : meant.map(({ name }) => name);
  const [are, ids, they] = names.length === 1 ? ["is", "its id is", "it"] : ["are", "their ids are", "they"];
  const done = `${names.join(", ")} ${are} removed: ${ids} refused from now on, and ${they} may come back with an empty data directory only`;
  // What it waited for is over by now; what was lost is not.
  const text = removed.length > 1 && note !== "" ? `${done}\n${note}` : done;
  output(
    format === "json" ? `${JSON.stringify({ removed: removed.length === 1 ? removed[0] : removed, note })}\n` : `${text}\n`,
  );
}

async function statusOf({ target }: DepartureRun): Promise<StatusReply> {
  const answer = await askNode(target, ["CLUSTER", "STATUS"]);
  if (!Array.isArray((answer as Readonly<Record<string, unknown>>).members)) {
    throw new OperatingError("UNAVAILABLE", "the node's answer has no members: use a kindred of its version");
  }
  return answer as StatusReply;
}

/** That keys have fewer copies than are wanted once this member has left; null where enough others stay. */
export function fewerCopiesText(
  { members, pending, replicas }: Pick<StatusReply, "members" | "pending" | "replicas">,
  leaver: StatusReply["members"][number],
): string | null {
  const dc = leaver.dc ?? "";
  const wanted = replicas.dcs[dc] ?? replicas.default;
  const stays = (member: typeof leaver): boolean =>
    member.id !== leaver.id && member.dc === leaver.dc && pending.every(({ id }) => id !== member.id);
  const copies = members.filter(stays).length;
  if (copies === 0 || copies >= wanted) return null;
  const isOnlyDc = members.every((member) => member.dc === leaver.dc);
  return `each key has ${copies} of ${wanted} copies${isOnlyDc ? "" : ` in ${dc}`} until another member joins`;
}

/** How far it is, on one line. */
export function progressText({ pending, transfers }: Pick<StatusReply, "pending" | "transfers">, id: string): string {
  const at = pending.findIndex((change) => change.id === id);
  if (at > 0) return `waiting for ${plural(at, "change", "changes")} before it: ${kindsOf(pending.slice(0, at))}`;
  const waitsFor = pending[at]?.waitsFor ?? [];
  if (waitsFor.length > 0) return `waiting for ${waitsFor.join("; ")}`;
  const sum = (of: (row: TransferRow) => number): number => transfers.reduce((total, row) => total + of(row), 0);
  const slots = `${count(sum((row) => row.slotsDone))} of ${plural(
    sum((row) => row.slots),
    "slot",
    "slots",
  )}`;
  return transfers.length === 0
    ? "waiting for those who take over"
    : `others take in ${slots}: ${plural(
        sum((row) => row.records),
        "record",
        "records",
      )}, ${bytes(sum((row) => row.bytes))}`;
}

function kindsOf(changes: readonly PendingRow[]): string {
  return changes.map(({ kind, name }) => `${kind} of ${name}`).join(", ");
}
