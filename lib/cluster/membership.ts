/**
 * What this member knows of all members: an entry each, merged so that the newer (generation, heartbeat) wins and nothing
 * else ever does. Pure: time comes in, changes come out. Ids that the ring document removed are refused for ever.
 */
import { assert } from "../assert.js";
import type { MemberId } from "./member.js";
import {
  decodeContents,
  encodeContents,
  HEARTBEAT_MAX,
  type MemberContents,
  type MemberEntry,
  type MemberStamp,
} from "./member-entry.js";
import { ROW_BYTES, Rows } from "./membership-rows.js";

/** More ids than this are refused: a bound on what a confused peer can make us hold. */
export const MEMBERS_MAX = 4096;
/** Rows of a digest; with more members a digest is one page of several. */
export const PAGE_ROWS_MAX = 700;
/** Bytes of entries in one message; what does not fit travels with a later exchange. */
export const ENTRIES_BYTES_MAX = 32 * 1024;
const ID_LOWEST = "0000000000000000";
const ID_HIGHEST = "ffffffffffffffff";

/** A member as known here. Read-only outside this file. */
export interface Member {
  readonly id: MemberId;
  readonly generation: number;
  /** The generation in which it was known before this one; 0 for none. */
  readonly before: number;
  readonly heartbeat: number;
  readonly changed: number;
  readonly contents: MemberContents;
  /** When its counter last moved, and when it was first heard of; monotonic milliseconds of this process. */
  readonly movedAtMs: number;
  readonly firstSeenMs: number;
}

export interface MemberChange {
  /** `restarted`: a new generation; `updated`: new contents; a heartbeat alone is no change. */
  readonly kind: "joined" | "updated" | "restarted" | "removed";
  readonly member: Member;
}

/** A stamp and contents as they travel. `contents` may be borrowed: what is kept is copied. */
export interface PackedEntry {
  readonly stamp: MemberStamp;
  readonly contents: Buffer;
}

/** Stamps of all members that the sender knows with `after` < id <= `upTo`. */
export interface DigestPage {
  readonly after: MemberId;
  readonly upTo: MemberId;
  readonly rows: Rows;
}

/** What a digest is answered with. */
export interface DigestAnswer {
  /** Newer heartbeats of contents that the other has. Borrowed: valid until the next digest is answered. */
  readonly rows: Rows;
  readonly entries: readonly PackedEntry[];
  /** Entries that the other has newer. */
  readonly wanted: readonly MemberId[];
}

export interface Merged {
  readonly changes: readonly MemberChange[];
  /**
   * Somebody holds a newer entry of ourselves than we do (our data is a copy, or lost its last generation): call
   * `restart` with a generation above this one, once it is durable. Null almost always.
   */
  readonly generationAbove: number | null;
}

interface KnownMember extends Member {
  generation: number;
  heartbeat: number;
  changed: number;
  before: number;
  contents: MemberContents;
  packed: Buffer;
  movedAtMs: number;
}

export class Membership {
  readonly selfId: MemberId;
  /** Ascending by id; `#rows` holds their stamps at the same positions. */
  readonly #members: KnownMember[] = [];
  readonly #byId = new Map<MemberId, KnownMember>();
  readonly #removed = new Set<MemberId>();
  readonly #self: KnownMember;
  #rows = new Rows(Buffer.alloc(64 * ROW_BYTES));
  #scratch = new Rows(Buffer.alloc(PAGE_ROWS_MAX * ROW_BYTES));
  #pending: MemberContents | null = null;
  #rotation = 0;
  #changes: MemberChange[] = [];
  #generationAbove: number | null = null;

  /** `self` is our own entry in the durable generation of this run. */
  constructor(self: MemberEntry, nowMs: number) {
    this.selfId = self.id;
    this.#self = this.#insert(self, encodeContents(self.contents), self.contents, nowMs);
  }

  get self(): Member {
    return this.#self;
  }

  get size(): number {
    return this.#members.length;
  }

  /** Ascending by id, ourselves included. Borrowed: changes with the next call that merges. */
  get members(): readonly Member[] {
    return this.#members;
  }

  get(id: MemberId): Member | null {
    return this.#byId.get(id) ?? null;
  }

  isRemoved(id: MemberId): boolean {
    return this.#removed.has(id);
  }

  /** Pages that a digest of all members takes. */
  get pages(): number {
    return Math.ceil(this.#members.length / PAGE_ROWS_MAX);
  }

  /** New contents of our own entry, told to others from the next `beat` on. */
  update(fields: Partial<MemberContents>): void {
    this.#pending = { ...(this.#pending ?? this.#self.contents), ...fields };
  }

  /** One more heartbeat. */
  beat(nowMs: number): void {
    const self = this.#self;
    assert(self.heartbeat < HEARTBEAT_MAX, "membership: a run of less than 136 years");
    self.heartbeat++;
    self.movedAtMs = nowMs;
    if (this.#pending !== null) {
      self.contents = this.#pending;
      self.packed = encodeContents(self.contents);
      self.changed = self.heartbeat;
      this.#pending = null;
    }
    this.#writeRow(self);
  }

  /** Goes on in a new, durable generation. */
  restart(generation: number, nowMs: number): void {
    const self = this.#self;
    assert(generation > self.generation, "membership: generations rise");
    self.generation = generation;
    self.heartbeat = 0;
    self.changed = 1;
    this.beat(nowMs);
    this.#generationAbove = null;
  }

  /** The ring document removed these: forgotten here, and refused from now on. Our own id is kept: leaving is the node's. */
  remove(ids: Iterable<MemberId>): readonly MemberChange[] {
    const changes: MemberChange[] = [];
    for (const id of ids) {
      if (id === this.selfId) continue;
      this.#removed.add(id);
      const member = this.#byId.get(id);
      if (member === undefined) continue;
      const position = this.#members.indexOf(member);
      this.#rows.bytes.copyWithin(position * ROW_BYTES, (position + 1) * ROW_BYTES, this.#members.length * ROW_BYTES);
      this.#members.splice(position, 1);
      this.#byId.delete(id);
      changes.push({ kind: "removed", member });
    }
    return changes;
  }

  /** One page of our digest, 0 to `pages` - 1. Borrowed: valid until the next call. */
  digest(page: number): DigestPage {
    const { pages } = this;
    assert(page >= 0 && page < pages, "membership: such a page");
    const each = Math.ceil(this.#members.length / pages);
    const end = Math.min(this.#members.length, (page + 1) * each);
    return {
      after: page === 0 ? ID_LOWEST : this.#members[page * each - 1]!.id,
      upTo: page === pages - 1 ? ID_HIGHEST : this.#members[end - 1]!.id,
      rows: new Rows(this.#rows.bytes.subarray(page * each * ROW_BYTES, end * ROW_BYTES)),
    };
  }

  /**
   * Takes newer heartbeats from a digest and says what to send for it. REQUIRES a page that was checked: ids ascending,
   * within its range. Afterwards `takeMerged` gives what changed.
   */
  answer(page: DigestPage, nowMs: number): DigestAnswer {
    const theirs = page.rows;
    const rows = this.#rows;
    const end = rows.firstAbove(page.upTo, this.#members.length);
    const wanted: MemberId[] = [];
    const missing: KnownMember[] = [];
    let count = 0;
    let mine = rows.firstAbove(page.after, this.#members.length);
    let their = 0;
    while (mine < end || their < theirs.length) {
      const order = mine >= end ? 1 : their >= theirs.length ? -1 : rows.compareIds(mine, theirs, their);
      if (order < 0) {
        missing.push(this.#members[mine++]!);
      } else if (order > 0) {
        const id = theirs.idAt(their++);
        if (!this.#removed.has(id) && this.#members.length + wanted.length < MEMBERS_MAX) wanted.push(id);
      } else {
        const ours = this.#compareStamp(mine, theirs, their);
        const isSameContents =
          ours !== 0 &&
          rows.generationAt(mine) === theirs.generationAt(their) &&
          rows.changedAt(mine) === theirs.changedAt(their);
        if (ours < 0) {
          const member = this.#members[mine]!;
          if (member === this.#self) this.#demand(theirs.generationAt(their));
          else if (isSameContents) this.#moved(member, mine, theirs.heartbeatAt(their), nowMs);
          else wanted.push(member.id);
        } else if (ours > 0) {
          if (isSameContents && count < PAGE_ROWS_MAX) this.#scratch.copyRow(rows, mine, count++);
          else missing.push(this.#members[mine]!);
        }
        mine++;
        their++;
      }
    }
    return { rows: new Rows(this.#scratch.bytes.subarray(0, count * ROW_BYTES)), entries: this.#pack(missing), wanted };
  }

  /** Takes newer heartbeats of contents that we have; others are left to a later digest. REQUIRES checked rows. */
  mergeRows(theirs: Rows, nowMs: number): void {
    const rows = this.#rows;
    let mine = 0;
    for (let their = 0; their < theirs.length; their++) {
      let order = -1;
      while (mine < this.#members.length && (order = rows.compareIds(mine, theirs, their)) < 0) mine++;
      if (mine >= this.#members.length) return;
      if (order !== 0 || this.#compareStamp(mine, theirs, their) >= 0) continue;
      const member = this.#members[mine]!;
      if (member === this.#self) this.#demand(theirs.generationAt(their));
      else if (member.generation === theirs.generationAt(their) && member.changed === theirs.changedAt(their)) {
        this.#moved(member, mine, theirs.heartbeatAt(their), nowMs);
      }
    }
  }

  /** Takes what is newer of these. Throws CORRUPT for contents that no member writes; the entries before are taken. */
  mergeEntries(entries: readonly PackedEntry[], nowMs: number): void {
    for (const { stamp, contents } of entries) {
      if (this.#removed.has(stamp.id)) continue;
      const known = this.#byId.get(stamp.id);
      if (known !== undefined && !isNewer(stamp, known)) continue;
      if (known === this.#self) {
        this.#demand(stamp.generation);
        continue;
      }
      const decoded = decodeContents(contents);
      const packed = Buffer.from(contents);
      if (known === undefined) {
        if (this.#members.length >= MEMBERS_MAX) continue;
        this.#changes.push({ kind: "joined", member: this.#insert(stamp, packed, decoded, nowMs) });
        continue;
      }
      const kind = stamp.generation > known.generation ? "restarted" : "updated";
      const isChanged = kind === "restarted" || stamp.changed > known.changed;
      if (kind === "restarted") known.before = known.generation;
      known.generation = stamp.generation;
      known.heartbeat = stamp.heartbeat;
      known.changed = stamp.changed;
      known.contents = decoded;
      known.packed = packed;
      known.movedAtMs = nowMs;
      this.#writeRow(known);
      if (isChanged) this.#changes.push({ kind, member: known });
    }
  }

  /** What changed since the last call. */
  takeMerged(): Merged {
    const merged = { changes: this.#changes, generationAbove: this.#generationAbove };
    if (this.#changes.length > 0) this.#changes = [];
    this.#generationAbove = null;
    return merged;
  }

  /** Entries that were asked for; those unknown here are left out, and those that do not fit. */
  entriesOf(ids: readonly MemberId[]): readonly PackedEntry[] {
    return this.#pack(ids.map((id) => this.#byId.get(id)).filter((member) => member !== undefined));
  }

  /** As many as fit, beginning elsewhere each time, so that what is left out of one message is in another. */
  #pack(members: readonly KnownMember[]): PackedEntry[] {
    const packed: PackedEntry[] = [];
    if (members.length === 0) return packed;
    this.#rotation += 101;
    let bytes = 0;
    for (let index = 0; index < members.length; index++) {
      const member = members[(index + this.#rotation) % members.length]!;
      bytes += ROW_BYTES + 2 + member.packed.length;
      if (bytes > ENTRIES_BYTES_MAX) break;
      const { id, generation, heartbeat, changed } = member;
      packed.push({ stamp: { id, generation, heartbeat, changed }, contents: member.packed });
    }
    return packed;
  }

  /** Positive where our row is the newer. */
  #compareStamp(mine: number, theirs: Rows, their: number): number {
    const generations = this.#rows.generationAt(mine) - theirs.generationAt(their);
    return generations !== 0 ? generations : this.#rows.heartbeatAt(mine) - theirs.heartbeatAt(their);
  }

  #moved(member: KnownMember, position: number, heartbeat: number, nowMs: number): void {
    member.heartbeat = heartbeat;
    member.movedAtMs = nowMs;
    this.#rows.setHeartbeat(position, heartbeat);
  }

  #demand(generation: number): void {
    this.#generationAbove = Math.max(generation, this.#generationAbove ?? 0);
  }

  #insert(stamp: MemberStamp, packed: Buffer, contents: MemberContents, nowMs: number): KnownMember {
    const { id, generation, heartbeat, changed } = stamp;
    const member: KnownMember = {
      id,
      generation,
      before: 0,
      heartbeat,
      changed,
      contents,
      packed,
      movedAtMs: nowMs,
      firstSeenMs: nowMs,
    };
    const count = this.#members.length;
    if (count === this.#rows.length) {
      const larger = Buffer.alloc(2 * count * ROW_BYTES);
      larger.set(this.#rows.bytes);
      this.#rows = new Rows(larger);
    }
    const position = this.#rows.firstAbove(id, count);
    this.#rows.bytes.copyWithin((position + 1) * ROW_BYTES, position * ROW_BYTES, count * ROW_BYTES);
    this.#rows.set(position, stamp);
    this.#members.splice(position, 0, member);
    this.#byId.set(id, member);
    return member;
  }

  #writeRow(member: KnownMember): void {
    this.#rows.set(this.#rows.firstAbove(member.id, this.#members.length) - 1, member);
  }
}

/** The one order of entries of a member. */
function isNewer(a: MemberStamp, b: MemberStamp): boolean {
  return a.generation > b.generation || (a.generation === b.generation && a.heartbeat > b.heartbeat);
}
