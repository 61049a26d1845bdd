/**
 * The folder's entry: this node as a member of a cluster. Composes what the other files do one thing each: who this member
 * is (member-record.ts), whom it lets in (hello-settings.ts), how it comes by a ring (ring-search.ts) and into it
 * (enrolment.ts), the document and its consensus (ring-keeper.ts), and who is there (gossip.ts).
 *
 * INVARIANT: whatever others are told of this member, its id, its generation, its votes, is on the disk before.
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import { type PeerHello, type PeerIdentity, type PeerObjection, PeerRefusal } from "../peer/peer.js";
import { AddressBook, removeAddress } from "./address-book.js";
import type { ClusterOptions } from "./cluster-options.js";
import { Complaints } from "./complaints.js";
import { Doorkeeper } from "./doorkeeper.js";
import { Enrolment } from "./enrolment.js";
import type { MemberStatus } from "./failure-detector.js";
import { Gossip, type GossipChange, type GossipPeer, type MemberReport } from "./gossip.js";
import { encodeHelloSettings, type HelloSettings, requireSameReplicas } from "./hello-settings.js";
import { readLoneRing } from "./lone-ring.js";
import type { MemberId } from "./member.js";
import type { MemberAddress, MemberState } from "./member-entry.js";
import { MemberLinks } from "./member-links.js";
import { MemberRecord } from "./member-record.js";
import { sayMisplacement } from "./misplacement.js";
import { RecordName } from "./records.js";
import { removalError } from "./removal-news.js";
import { placeTakenBy } from "./restored-member.js";
import { Reunion } from "./reunion.js";
import type { Ring } from "./ring.js";
import type { AcceptorState } from "./ring-consensus.js";
import { comingMembers, foundRing, mintRingDocument, type RingDocument } from "./ring-document.js";
import { type ChangeOutcome, RingKeeper } from "./ring-keeper.js";
import { decodeAcceptorState, encodeAcceptorState } from "./ring-messages.js";
import type { RingChange } from "./ring-proposer.js";
import { RingSearch } from "./ring-search.js";
import { SelfPortrait } from "./self-portrait.js";
import { namesOfStores } from "./store-names.js";
import { tellAll } from "./telling.js";
import { chooseTokens } from "./token-choice.js";

export type { ClusterOptions, ClusterSettings } from "./cluster-options.js";
export type { MemberStatus } from "./failure-detector.js";
export type { MemberReport } from "./gossip.js";
export type { Member, MemberId } from "./member.js";
export type { MemberAddress, MemberLoad } from "./member-entry.js";
export type { PreferenceTable, ReplicaCounts } from "./preference-table.js";
export type { Records } from "./records.js";
export type { Ring, SlotOwners } from "./ring.js";
export type { RingDocument } from "./ring-document.js";
export type { ChangeOutcome } from "./ring-keeper.js";
export type { ChangeRefusal, RingChange } from "./ring-proposer.js";

const FETCH_MS_MAX = 2_000;
/** From learning that a member was removed until links with it end. */
const FORGET_MS = 2_000;

const LOST_RING =
  "the store has keys, and does not say of which cluster (was it salvaged?): if others are members of it, stop this node and start it with --seeds, so that it joins them again";

export class Cluster {
  readonly selfId: MemberId;
  readonly #options: ClusterOptions;
  readonly #links: MemberLinks;
  readonly #record: MemberRecord;
  readonly #portrait: SelfPortrait;
  readonly #book: AddressBook;
  readonly #reunion: Reunion;
  readonly #listeners: ((ring: Ring) => void)[] = [];
  readonly #removed = new Set<MemberId>();
  /** Seeds that are not this node, and where members were last that gossip has not heard of yet. */
  readonly #seeds: MemberAddress[] = [];
  readonly #door: Doorkeeper;
  readonly #fetches = new Map<MemberId, Promise<void>>();
  readonly #complaints: Complaints;
  #state: "new" | "searching" | "running" | "stopped" = "new";
  #keeper: RingKeeper | null = null;
  #gossip: Gossip | null = null;
  #search: RingSearch | null = null;
  #enrolment: Enrolment | null = null;
  #selfIndex = -1;
  #startedMs = 0;
  /** Names of members by store id; null when they are to be gathered anew. */
  #names: Map<string, string> | null = null;

  private constructor(options: ClusterOptions, record: MemberRecord) {
    this.#options = options;
    this.#record = record;
    this.selfId = record.id;
    this.#portrait = new SelfPortrait(record.id, options);
    this.#complaints = new Complaints(options.log);
    const { peers, clock, records, log } = options;
    this.#links = new MemberLinks({ peers, clock });
    this.#links.serve({
      gossip: (message) => this.#running.receive(message),
      ring: (request) => this.#knowing.handle(request),
    });
    this.#book = new AddressBook({ records, clock, log, isKept: (id) => this.#isOfRing(id) });
    this.#reunion = new Reunion({ records, selfId: record.id, log });
    this.#door = new Doorkeeper({
      records,
      hello: () => this.#hello,
      clusterId: () => this.#clusterId,
      removed: this.#removed,
      heardOf: (id) => this.#gossip?.membership.get(id) ?? null,
      linked: () => this.#keeper?.ring.members.filter(({ id }) => id !== this.selfId && this.isUsable(id)).length ?? 0,
      onRemoved: () => this.#state === "running" && options.onRemoved("removed"),
      onPutBack: options.onPutBack,
    });
    const stored = records.get(RecordName.ringState);
    if (stored !== null) this.#keep(decodeAcceptorState(stored));
  }

  /**
   * Reads the records, and stores the generation of this run. Throws IO, CORRUPT, CONFIG where `replicas` is not what the ring
   * has, and UNAVAILABLE for a member that was removed.
   */
  static open(options: ClusterOptions): Cluster {
    const { records, random, clock, settings } = options;
    const cluster = new Cluster(options, MemberRecord.open({ records, random, wallMs: clock.wallMs() }));
    const document = cluster.#keeper?.document;
    if (document === undefined) return cluster;
    if (cluster.#removed.has(cluster.selfId)) throw removalError(cluster.selfId);
    const isInCompany = document.members.some(({ id }) => id !== cluster.selfId) || document.pending.length > 0;
    if (isInCompany) requireSameReplicas(settings.replicas, document.replicas);
    return cluster;
  }

  /** The newest ring known here. REQUIRES that one is: `start` has resolved. */
  get ring(): Ring {
    assert(this.#keeper !== null, "cluster: a ring is known once it has started");
    return this.#keeper.ring;
  }

  /** This node in `ring.members`; -1 where it is neither a member nor the next to be one. */
  get selfIndex(): number {
    return this.#selfIndex;
  }

  // For `Peers`.

  identity(): PeerIdentity {
    return { peerId: this.selfId, clusterId: this.#clusterId, settings: encodeHelloSettings(this.#hello) };
  }

  admit(hello: PeerHello): PeerObjection | null {
    return this.#door.admit(hello);
  }

  // Life.

  /**
   * Founds a ring, or finds one through the seeds; resolves when one is known here, in the same turn where nobody has to be
   * asked. Joining it goes on afterwards. Keeps trying, and logs why it waits. REQUIRES that the node listens. Rejects with IO,
   * and with CLOSED when it was stopped meanwhile.
   */
  async start(): Promise<void> {
    assert(this.#state === "new", "cluster: started once");
    this.#state = "searching";
    if (this.#keeper === null) {
      const lone = readLoneRing(this.#options.records);
      const { seeds } = this.#options.settings;
      if (lone !== null || seeds.length === 0)
        this.#found(lone ?? mintRingDocument((length) => this.#options.random.bytes(length)));
      else await this.#findRing(seeds);
    }
    this.#begin();
  }

  /** Takes part no more: others get no answers. To be called before the links are closed. Idempotent. */
  stop(): void {
    if (this.#state === "stopped") return;
    this.#state = "stopped";
    this.#search?.stop();
    this.#enrolment?.stop();
    this.#gossip?.stop();
    this.#book.flush();
  }

  /** Why `start` goes on, as far as it is known; empty otherwise. */
  get obstacle(): string {
    return this.#search?.said ?? "";
  }

  /** Names of the members without which a restored cluster does not change its ring. */
  get awaited(): readonly string[] {
    return this.#reunion.awaited;
  }

  /** Calls `listener` with each newer ring, the first included, in the turn in which it is known and durable here. */
  onRing(listener: (ring: Ring) => void): void {
    this.#listeners.push(listener);
  }

  /** Takes a peer's ring document if it is newer. Resolves, within 2 s, also when that failed: the next peer tells again. */
  fetchRing(from: MemberId): Promise<void> {
    let fetch = this.#fetches.get(from);
    if (fetch === undefined) {
      fetch = this.#fetch(from).finally(() => this.#fetches.delete(from));
      this.#fetches.set(from, fetch);
    }
    return fetch;
  }

  /** Changes the ring document: see `RingKeeper.change`. */
  change(change: RingChange, deadlineMs: number): Promise<ChangeOutcome> {
    assert(this.#keeper !== null, "cluster: a ring is known once it has started");
    return this.#keeper.change(change, deadlineMs);
  }

  /** Takes a document that an operator forces (`forceRingDocument`), and tells those who are left. Rejects with IO. */
  async force(document: RingDocument): Promise<void> {
    this.#learn(document, this.selfId);
    // Gossip tells whoever misses it.
    await this.spread();
  }

  /** Tells all others of the ring that is known here; resolves within 2 s, with true when one of them knows it or nobody is to. */
  async spread(): Promise<boolean> {
    const { document } = this.ring;
    const untilMs = this.#options.clock.monotonicMs() + FETCH_MS_MAX;
    const others = document.members.map(({ id }) => id).filter((id) => id !== this.selfId);
    const tell = (id: MemberId): Promise<void> => this.#teach(id, document, untilMs);
    const isTold = await tellAll(others, { tell, onFailure: (text) => this.#complaints.say(text) });
    return isTold || this.#state === "stopped";
  }

  // Who is there.

  /** Whom gossip knows, this node included, ascending by id. Nodes that have not joined are among them. */
  reports(): readonly MemberReport[] {
    return this.#gossip?.reports() ?? [];
  }

  /** A member of which this run has heard nothing is down once it could have been heard. */
  statusOf(id: MemberId): MemberStatus {
    const gossip = this.#gossip;
    if (gossip === null) return "up";
    if (gossip.membership.get(id) !== null) return gossip.statusOf(id);
    const hadTime = this.#options.clock.monotonicMs() - this.#startedMs > gossip.suspectAfterMs;
    return hadTime && !this.isUsable(id) ? "down" : "up";
  }

  /** There is a link to it that answers; gossip is not asked. */
  isUsable(id: MemberId): boolean {
    return id === this.selfId || this.#options.peers.isUsable(id);
  }

  /** The highest protocol version that a member speaks, as gossip has it; null where nothing was heard of it. */
  protocolOf(id: MemberId): number | null {
    return this.#gossip?.membership.get(id)?.contents.protocolVersion ?? null;
  }

  /** Where members reach it: by gossip, else where it was last. Null where that is not known. */
  addressOf(id: MemberId): MemberAddress | null {
    return this.#gossip?.membership.get(id)?.contents.peerAddress ?? this.#book.get(id);
  }

  /** The name of the member with this store, 8 latin1 characters; null for a store of none. */
  nameOfStore(storeId: string): string | null {
    this.#names ??= namesOfStores(this.#keeper?.document ?? null, this.#gossip?.membership.members ?? []);
    return this.#names.get(storeId) ?? null;
  }

  /** What is known of others' runs is on the disk when this returns. Throws IO. */
  saveRuns = (): void => this.#door.saveRuns((id) => this.#isOfRing(id));
  /** What this store had lost of its own runs was made up for. Throws IO. */
  settleRuns = (): void => this.#record.runs.settle(this.#record.generation);

  /** Why this node may not serve, where the others have removed it while it was away; null else. */
  get removal(): OperatingError | null {
    return this.#door.isRemoved ? removalError(this.selfId) : null;
  }

  // Coming by a ring.

  #found(minted: RingDocument): void {
    const { settings, random, log } = this.#options;
    const { replicas, vnodes } = settings;
    const joiner = { ...this.#portrait.self(), tokens: [] };
    const tokens = chooseTokens({ members: [], joiner, replicas, vnodes, fraction: () => random.fraction() });
    const decided = foundRing(minted, { member: { ...joiner, tokens }, replicas });
    this.#storeFirst({ decided, promised: null, vote: null });
    log.info({ cluster: this.#clusterId }, "founded a ring, of which this node is the only member");
    if (readLoneRing(this.#options.records) === null && this.#options.holdsKeys()) log.warn({}, LOST_RING);
  }

  async #findRing(seeds: readonly MemberAddress[]): Promise<void> {
    const { clock, random, log, settings } = this.#options;
    this.#search = new RingSearch({ links: this.#links, clock, random, log, seeds, ownAddress: settings.peerAddress() });
    const outcome = await this.#search.run();
    this.#search = null;
    if (outcome.kind === "found one") return this.#found(mintRingDocument((length) => random.bytes(length)));
    this.#storeFirst({ decided: outcome.document, promised: null, vote: null });
    log.info({ cluster: this.#clusterId, from: outcome.from, version: outcome.document.version }, "found a ring to join");
  }

  /** Belongs to a cluster from now on. */
  #storeFirst(state: AcceptorState): void {
    this.#store(state);
    this.#keep(state);
    // Links of before know nothing of the cluster: those that may be of another one are made anew, and judged.
    for (const peerId of this.#door.takeUnjudged()) this.#options.peers.forget(peerId);
    this.#onRing(this.ring);
  }

  #keep(state: AcceptorState): void {
    const { clock, random, log } = this.#options;
    this.#keeper = new RingKeeper({
      memberId: this.selfId,
      state,
      store: (changed) => this.#store(changed),
      ask: (to, request, deadlineMs) => this.#links.askRing(to, request, deadlineMs),
      mayVote: () => this.#reunion.mayVote,
      clock,
      random,
      log,
    });
    this.#keeper.onChange((ring) => this.#onRing(ring));
    for (const id of state.decided.removed) this.#removed.add(id);
    this.#selfIndex = this.ring.indexOf(this.selfId) ?? -1;
  }

  #store(state: AcceptorState): void {
    if (this.#state === "stopped") throw new OperatingError("CLOSED", "this node is stopping");
    this.#options.records.putNow(RecordName.ringState, encodeAcceptorState(state));
  }

  // Taking part.

  #begin(): void {
    const { clock, random, log, settings, peers } = this.#options;
    this.#state = "running";
    this.#startedMs = clock.monotonicMs();
    this.#seeds.push(...settings.seeds);
    removeAddress(this.#seeds, settings.peerAddress(), { except: [] });
    const self = this.#portrait.self();
    const contents = this.#portrait.contents({ state: this.#memberState, ringVersion: this.ring.document.version });
    const gossip = new Gossip({
      clock,
      random,
      log,
      transport: { exchange: (to, bytes, deadlineMs) => this.#exchange(to, bytes, deadlineMs) },
      self: { id: this.selfId, generation: this.#record.generation, heartbeat: 1, changed: 1, contents },
      seeds: this.#seeds,
      ringVersion: () => this.ring.document.version,
      onNewerRing: ({ id }) => (id === null ? Promise.resolve() : this.fetchRing(id)),
      raiseGeneration: async (above) => this.#record.raise({ above, wallMs: clock.wallMs() }),
      load: () => {
        gossip.update(this.#portrait.leaseNews());
        return this.#options.load();
      },
      onChange: (change) => this.#onGossip(change),
    });
    this.#gossip = gossip;
    gossip.remove(this.#removed);
    for (const [id, address] of this.#book.entries()) {
      if (!this.#isOfRing(id) || id === this.selfId) continue;
      this.#seeds.push(address);
      peers.setAddress(id, address);
    }
    peers.onUp((peerId) => {
      if (this.#state !== "running") return;
      this.#door.linkedWith(peerId);
      gossip.greet(peerId);
      background(this.fetchRing(peerId));
    });
    peers.onRefusal((peerId, refusal) => this.#door.refused(peerId, refusal));
    gossip.start();
    this.#enrolment = new Enrolment({
      clock,
      random,
      log,
      self,
      replicas: settings.replicas,
      vnodes: settings.vnodes,
      replaces: settings.replaces,
      takesPlaceOf: placeTakenBy(this.#options.records),
      mayChange: () => this.#reunion.mayVote,
      ring: () => this.ring,
      change: (change, deadlineMs) => this.change(change, deadlineMs),
      teach: (to, document, deadlineMs) => this.#teach(to, document, deadlineMs),
      isReachable: (id) => this.isUsable(id) || this.statusOf(id) !== "down",
      isLinked: (id) => peers.isUsable(id) && peers.isLinkedFrom(id),
      protocolOf: (id) => this.protocolOf(id),
      hasTakenIn: this.#options.hasTakenIn,
      retire: this.#options.retire,
    });
    this.#reunion.look(this.ring.document);
    this.#enrolment.ringChanged();
    sayMisplacement(this.ring.document, self, log);
  }

  #onRing(ring: Ring): void {
    const { document } = ring;
    this.#names = null;
    this.#selfIndex = ring.indexOf(this.selfId) ?? -1;
    for (const id of document.removed) {
      if (this.#removed.has(id)) continue;
      this.#removed.add(id);
      this.#book.forget(id);
      this.#gossip?.remove([id]);
      if (id === this.selfId) this.#options.onRemoved(this.#enrolment?.hasGivenAway ? "left" : "removed");
      // It is told first.
      else this.#options.clock.after(FORGET_MS, () => this.#options.peers.forget(id));
    }
    if (this.#state === "running") this.#book.saveSoon();
    this.#gossip?.update({ state: this.#memberState });
    this.#enrolment?.ringChanged();
    for (const listener of this.#listeners) listener(ring);
  }

  #onGossip(change: GossipChange): void {
    const { peers, log } = this.#options;
    if (change.kind === "status") {
      const name = this.#gossip?.membership.get(change.id)?.contents.name;
      log.info({ member: change.id, name }, `a member is ${change.to}`);
      return;
    }
    const { id, contents, generation } = change.member;
    this.#names = null;
    if (change.kind === "removed" || id === this.selfId) return;
    const last = this.#book.get(id);
    // From here on gossip itself turns to it.
    if (change.kind === "joined" && last !== null) removeAddress(this.#seeds, last, { except: this.#options.settings.seeds });
    peers.setAddress(id, contents.peerAddress);
    this.#door.noteRun(id, generation);
    this.#book.note(id, contents.peerAddress);
  }

  async #exchange(to: GossipPeer, bytes: Buffer, deadlineMs: number): Promise<Buffer> {
    try {
      return await this.#links.exchange(to, bytes, deadlineMs);
    } catch (error) {
      if (to.id === null && error instanceof PeerRefusal) this.#onSeedRefusal(to.address, error);
      throw error;
    }
  }

  #onSeedRefusal(address: MemberAddress, refusal: PeerRefusal): void {
    if (refusal.reason === "self") return removeAddress(this.#seeds, address, { except: [] });
    this.#complaints.say(`the seed ${address.host}:${address.port} is of no use: ${messageOf(refusal)}`);
    this.#door.refused(null, refusal);
  }

  async #fetch(from: MemberId): Promise<void> {
    const { clock, log } = this.#options;
    try {
      const document = await this.#links.fetchRing(from, this.ring.document.version, clock.monotonicMs() + FETCH_MS_MAX);
      if (document !== null) this.#learn(document, from);
      if (this.#reunion.heard(from, this.ring.document)) this.#enrolment?.ringChanged();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      // Whoever is awaited has to be heard.
      if (!this.#reunion.mayVote) clock.after(FETCH_MS_MAX, () => this.isUsable(from) && background(this.fetchRing(from)));
      log.debug({ peer: from, code: error.code }, `its ring was not fetched: ${messageOf(error)}`);
    }
  }

  async #teach(to: MemberId, document: RingDocument, deadlineMs: number): Promise<void> {
    const newer = await this.#links.teachRing(to, document, deadlineMs);
    if (newer !== null) this.#learn(newer, to);
  }

  #learn(document: RingDocument, from: MemberId): void {
    const outcome = this.#knowing.learn(document);
    if (outcome === "foreign" || outcome === "forked") {
      this.#complaints.say(`member ${from} has a ring that is not this one, of version ${document.version} (${outcome})`);
    }
  }

  get #hello(): HelloSettings {
    const { members = [], pending = [] } = this.#keeper?.document ?? {};
    return this.#portrait.hello(members.length + pending.length, this.#record.runs.told);
  }

  get #clusterId(): string | null {
    return this.#keeper?.document.clusterId.toString("hex") ?? null;
  }

  get #memberState(): MemberState {
    return this.ring.document.members.some(({ id }) => id === this.selfId) ? "up" : "joining";
  }

  #isOfRing(id: MemberId): boolean {
    const { members = [], pending = [] } = this.#keeper?.document ?? {};
    return [...members, ...comingMembers(pending)].some((member) => member.id === id);
  }

  get #running(): Gossip {
    if (this.#gossip === null || this.#state !== "running") throw new OperatingError("CLOSED", "this node takes no part yet");
    return this.#gossip;
  }

  get #knowing(): RingKeeper {
    if (this.#state === "stopped") throw new OperatingError("CLOSED", "this node is stopping");
    if (this.#keeper === null) throw new OperatingError("UNAVAILABLE", "this node knows no ring yet");
    return this.#keeper;
  }
}
