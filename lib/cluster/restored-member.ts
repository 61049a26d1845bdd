/**
 * What a backup knows of its cluster, made fit for the store that was restored from it. Pure but for the records, which are changed in
 * one turn: the caller makes them durable.
 *
 * A member that is restored alone has forgotten votes, and writes that it acknowledged: going on under its id, it could help to decide
 * one version of the ring twice, and would be counted in quorums for what it does not have. So it joins as a new member in the
 * place of the old one, which reads from the other owners before it owns anything.
 */
import type { MemberId } from "./member.js";
import { MEMBER_ID_BYTES } from "./member.js";
import { memberIdOf } from "./member-record.js";
import { RecordName } from "./records.js";
import { encodeReunion } from "./reunion.js";
import { encodeRingDocument, mintRingDocument } from "./ring-document.js";
import { decodeAcceptorState, encodeAcceptorState } from "./ring-messages.js";

/** The node's own records, changed with this turn. */
export interface ChangeableRecords {
  get(name: string): Buffer | null;
  put(name: string, bytes: Buffer): void;
  remove(name: string): void;
}

/** A new member in the place of the one that the records name. Does nothing where that is done. Throws CORRUPT. */
export function becomeReplacement(records: ChangeableRecords): void {
  const member = records.get(RecordName.member);
  const stored = records.get(RecordName.ringState);
  if (member === null || stored === null) return;
  records.put(RecordName.takesPlaceOf, Buffer.from(memberIdOf(member), "hex"));
  records.remove(RecordName.member);
  records.put(RecordName.ringState, encodeAcceptorState({ ...decodeAcceptorState(stored), promised: null, vote: null }));
}

/** The member that it was, with all others; `without`: names or ids of those that do not come back. */
export function becomeReunited(records: ChangeableRecords, without: readonly string[]): void {
  records.put(RecordName.reunion, encodeReunion({ isOver: false, without }));
}

/** The founder of a new cluster, with what is agreed of databases and of what was flushed. Throws CORRUPT. */
export function becomeAlone(records: ChangeableRecords, randomBytes: (length: number) => Buffer): void {
  const stored = records.get(RecordName.ringState);
  if (stored === null) return;
  const { databases, flushContexts } = decodeAcceptorState(stored).decided;
  const minted = mintRingDocument(randomBytes);
  records.put(RecordName.loneRing, encodeRingDocument({ ...minted, databases, flushContexts }));
  for (const name of [
    RecordName.member,
    RecordName.ringState,
    RecordName.addresses,
    RecordName.takesPlaceOf,
    RecordName.reunion,
  ]) {
    records.remove(name);
  }
}

/** The member in whose place this one comes, as its restored store says; null for none. */
export function placeTakenBy(records: Pick<ChangeableRecords, "get">): MemberId | null {
  const stored = records.get(RecordName.takesPlaceOf);
  return stored === null || stored.length !== MEMBER_ID_BYTES ? null : stored.toString("hex");
}
