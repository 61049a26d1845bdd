/**
 * Whom this node has links with, and who will have none with it: holds the hello of each peer against what it is itself and what it
 * knows of that peer, and makes of others' refusals what they say of this node.
 */
import type { PeerHello, PeerObjection, PeerRefusal } from "../peer/peer.js";
import { type HelloSettings, objectionTo } from "./hello-settings.js";
import { KnownRuns } from "./known-runs.js";
import type { MemberId } from "./member.js";
import type { Member } from "./membership.js";
import type { Records } from "./records.js";
import { RemovalNews } from "./removal-news.js";

/** Peers met before this node belongs to a cluster. */
const MET_MAX = 4_096;

export interface DoorkeeperOptions {
  readonly records: Records;
  readonly hello: () => HelloSettings;
  /** Null while this node belongs to no cluster. */
  readonly clusterId: () => string | null;
  readonly removed: ReadonlySet<MemberId>;
  /** What gossip knows of a member. */
  readonly heardOf: (id: MemberId) => Pick<Member, "generation" | "before"> | null;
  /** Members that this node has links with. */
  readonly linked: () => number;
  readonly onRemoved: () => void;
  readonly onPutBack: () => void;
}

export class Doorkeeper {
  readonly #options: DoorkeeperOptions;
  readonly #runs: KnownRuns;
  readonly #news = new RemovalNews();
  /** Of each peer met before this node belonged to a cluster, to which it belonged itself. */
  readonly #met = new Map<MemberId, string | null>();

  /** Throws CORRUPT. */
  constructor(options: DoorkeeperOptions) {
    this.#options = options;
    this.#runs = new KnownRuns(options.records);
  }

  /** Null, or why a link with this peer is refused. */
  admit(hello: PeerHello): PeerObjection | null {
    const { removed, heardOf } = this.#options;
    const { peerId } = hello;
    const clusterId = this.#options.clusterId();
    const heard = heardOf(peerId);
    const knownRuns = [this.#runs.of(peerId), heard?.generation ?? 0, heard?.before ?? 0];
    const objection = objectionTo(hello, { settings: this.#options.hello(), clusterId, removed, knownRuns });
    if (objection === null && clusterId === null && this.#met.size < MET_MAX) this.#met.set(peerId, hello.clusterId);
    return objection;
  }

  /** This node belongs to a cluster now: peers whose links have to be made anew, and judged, as they may be of another one. */
  takeUnjudged(): MemberId[] {
    const clusterId = this.#options.clusterId();
    const unjudged = [...this.#met].filter(([, theirs]) => theirs !== clusterId).map(([id]) => id);
    this.#met.clear();
    return unjudged;
  }

  /** A peer that was dialled, or a seed (null: nobody knows who it is), will have no link. */
  refused(by: MemberId | null, refusal: PeerRefusal): void {
    const { linked, onRemoved, onPutBack } = this.#options;
    if (refusal.by === "them" && refusal.reason === "past") onPutBack();
    else if (this.#news.refused(by, refusal, linked())) onRemoved();
  }

  /** There is a link with it. */
  linkedWith(id: MemberId): void {
    this.#news.linked(id);
  }

  /** The others have removed this member. Stays so. */
  get isRemoved(): boolean {
    return this.#news.isCertain;
  }

  /** A member runs in this generation. */
  noteRun(id: MemberId, generation: number): void {
    this.#runs.note(id, generation);
  }

  /** What is known of others' runs is on the disk when this returns. Throws IO. */
  saveRuns(isKept: (id: MemberId) => boolean): void {
    this.#runs.save(isKept);
  }
}
