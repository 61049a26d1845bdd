/**
 * All members of a cluster were restored from backups, which were taken one after the other: one may know a version of the ring that
 * others have forgotten to have voted for. If these decided another document under that version, the ring would be two. So a
 * restored member votes for nothing until it has heard, in one run, what every member knows: by then all of them hold the newest.
 * Members that do not come back are named when the others are restored (`--without`).
 *
 *     "reunion": format u8 = 1 | is over u8 | members that are not awaited, names or ids: (length varint, utf8)*
 */
import type { Log } from "../log.js";
import { PartReader, sized, varint } from "./field-encoding.js";
import type { Member, MemberId } from "./member.js";
import { RecordName, type Records } from "./records.js";
import type { RingDocument } from "./ring-document.js";

const FORMAT = 1;

/** What to do about members who are awaited and gone for good. */
export const REUNION_ADVICE = "who does not come back has to be named when the others are restored (kindred restore --without)";

export interface ReunionState {
  readonly isOver: boolean;
  readonly without: readonly string[];
}

export class Reunion {
  readonly #records: Records;
  readonly #selfId: MemberId;
  readonly #log: Log;
  readonly #heard = new Set<MemberId>();
  #state: ReunionState;
  #awaited: readonly string[] = [];

  constructor({ records, selfId, log }: { records: Records; selfId: MemberId; log: Log }) {
    this.#records = records;
    this.#selfId = selfId;
    this.#log = log;
    const stored = records.get(RecordName.reunion);
    this.#state = stored === null ? { isOver: true, without: [] } : decodeReunion(stored);
  }

  /** False while votes of this member may contradict what it has forgotten. */
  get mayVote(): boolean {
    return this.#state.isOver;
  }

  /** Names of those without whom it may not vote. */
  get awaited(): readonly string[] {
    return this.#awaited;
  }

  /** This member has told the newest document that it knows, and that is known here. Returns whether it was the last one. */
  heard(id: MemberId, document: RingDocument): boolean {
    if (this.#state.isOver) return false;
    this.#heard.add(id);
    this.look(document);
    return this.#state.isOver;
  }

  /** `document`: the newest one known here. Throws IO. */
  look({ members }: RingDocument): void {
    const { isOver, without } = this.#state;
    if (isOver) return;
    const isAwaited = ({ id, name }: Member): boolean =>
      id !== this.#selfId && !this.#heard.has(id) && !without.includes(id) && !without.includes(name);
    const awaited = members.filter(isAwaited).map(({ name }) => name);
    this.#await(awaited);
    if (awaited.length > 0) return;
    const state = { isOver: true, without };
    this.#records.putNow(RecordName.reunion, encodeReunion(state));
    this.#state = state;
    this.#log.info({ members: members.length }, "all members of the restored cluster were heard of: its ring may change");
  }

  #await(awaited: readonly string[]): void {
    if (awaited.join() === this.#awaited.join()) return;
    this.#awaited = awaited;
    if (awaited.length === 0) return;
    this.#log.warn({ awaited }, `a restored cluster changes its ring once all members are there; ${REUNION_ADVICE}`);
  }
}

export function encodeReunion({ isOver, without }: ReunionState): Buffer {
  return Buffer.concat([varint(FORMAT), varint(isOver ? 1 : 0), ...without.map((name) => sized(Buffer.from(name)))]);
}

function decodeReunion(bytes: Buffer): ReunionState {
  const part = new PartReader(bytes);
  part.varint();
  const isOver = part.varint() === 1;
  const without: string[] = [];
  while (!part.isAtEnd) without.push(part.sized().toString());
  return { isOver, without };
}
