import { expect } from "chai";
import { type Member, mintMemberId } from "../../lib/cluster/member.js";
import {
  type AcceptorState,
  compareBallots,
  RingAcceptor,
  type RingAnswer,
  type RingRequest,
} from "../../lib/cluster/ring-consensus.js";
import { forceRingDocument, isSameDocument, type RingDocument } from "../../lib/cluster/ring-document.js";
import {
  decodeAcceptorState,
  decodeRingAnswer,
  decodeRingRequest,
  encodeAcceptorState,
  encodeRingAnswer,
  encodeRingRequest,
} from "../../lib/cluster/ring-messages.js";
import { type OutgoingRequest, type RingChange, RingProposer } from "../../lib/cluster/ring-proposer.js";
import { documentOf, fractions, memberOf, numbered } from "./members.js";

/** Tokens do not matter here, but a member has one. */
const withToken = (number: number) => memberOf(number, { tokens: [number * 10] });

/** Appends a name to a list that lives in the document, so that descent shows. */
function appending(name: string): RingChange {
  return (base) => {
    const names = namesIn(base);
    if (names.includes(name)) return base;
    return { ...base, databases: [{ database: 0, settings: JSON.stringify([...names, name]) }] };
  };
}

function namesIn(document: RingDocument): string[] {
  return JSON.parse(document.databases[0]?.settings ?? "[]");
}

function stateOf(decided: RingDocument): AcceptorState {
  return { decided, promised: null, vote: null };
}

class Cluster {
  readonly acceptors = new Map<string, RingAcceptor>();
  readonly #fraction: () => number;

  constructor(document: RingDocument, seed = 1) {
    this.#fraction = fractions(seed);
    for (const { id } of document.members) this.acceptors.set(id, new RingAcceptor(id, stateOf(document)));
  }

  nonce = () => Math.floor(this.#fraction() * 2 ** 48);

  propose(memberId: string, change: RingChange): RingProposer {
    return new RingProposer({ memberId, base: this.acceptors.get(memberId)!.decided, change, nonce: this.nonce });
  }

  /** Delivers requests and what follows from them, in order; members in `down` are not reached. */
  run(proposer: RingProposer, requests: OutgoingRequest[], down: readonly string[] = []): void {
    const queue = [...requests];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const acceptor = down.includes(next.to) ? undefined : this.acceptors.get(next.to);
      if (acceptor === undefined) queue.push(...proposer.unreachable(next.to));
      else queue.push(...proposer.receive(next.to, acceptor.handle(next.request).answer));
    }
  }
}

describe("ring consensus", () => {
  it("decides at once in a ring of one", () => {
    const cluster = new Cluster(documentOf([withToken(1)]));
    const id = memberOf(1).id;
    const proposer = cluster.propose(id, appending("a"));
    cluster.run(proposer, proposer.start());
    expect(proposer.verdict()).to.deep.include({ kind: "decided" });
    expect(cluster.acceptors.get(id)!.decided).to.deep.include({ version: 2 });
    expect(namesIn(cluster.acceptors.get(id)!.decided)).to.deep.equal(["a"]);
  });

  it("decides with a majority, and tells all that can be reached", () => {
    const members = numbered(5, withToken);
    const cluster = new Cluster(documentOf(members));
    const down = [members[3]!.id, members[4]!.id];
    const proposer = cluster.propose(members[0]!.id, appending("a"));
    cluster.run(proposer, proposer.start(), down);
    expect(proposer.verdict().kind).to.equal("decided");
    expect([...cluster.acceptors.values()].map((acceptor) => acceptor.decided.version)).to.deep.equal([2, 2, 2, 1, 1]);
  });

  it("says that there is no majority, and decides when there is one again", () => {
    const members = numbered(3, withToken);
    const cluster = new Cluster(documentOf(members));
    const proposer = cluster.propose(members[0]!.id, appending("a"));
    cluster.run(proposer, proposer.start(), [members[1]!.id, members[2]!.id]);
    expect(proposer.verdict()).to.deep.equal({ kind: "no-majority", reached: 1, needed: 2, mayTakeEffect: false });
    cluster.run(proposer, proposer.start(), [members[1]!.id]);
    expect(proposer.verdict().kind).to.equal("decided");
  });

  it("counts who did not answer in time as failed", () => {
    const members = numbered(3, withToken);
    const cluster = new Cluster(documentOf(members));
    const proposer = cluster.propose(members[0]!.id, appending("a"));
    const [first, second] = proposer.start() as [OutgoingRequest, OutgoingRequest];
    for (const { to, request } of [first, second]) proposer.receive(to, cluster.acceptors.get(to)!.handle(request).answer);
    proposer.timeUp();
    expect(proposer.verdict()).to.deep.equal({ kind: "no-majority", reached: 0, needed: 2, mayTakeEffect: true });
  });

  it("finishes what another proposer began, and says that the own change was not made", () => {
    const members = numbered(3, withToken);
    const cluster = new Cluster(documentOf(members));
    const [a, b, c] = members.map((member) => member.id) as [string, string, string];
    const first = cluster.propose(a, appending("first"));
    // The first proposer gets a single vote for its change, at b, and stops.
    const accepts = first
      .start()
      .flatMap(({ to, request }) => first.receive(to, cluster.acceptors.get(to)!.handle(request).answer));
    const vote = accepts.find(({ to }) => to === b)!;
    expect(cluster.acceptors.get(b)!.handle(vote.request).answer.kind).to.equal("accepted");
    const second = cluster.propose(c, appending("second"));
    cluster.run(second, second.start(), [a]);
    expect(second.verdict().kind).to.equal("lost");
    const rebased = cluster.propose(c, appending("second"));
    cluster.run(rebased, rebased.start(), [a]);
    expect(rebased.verdict().kind).to.equal("decided");
    expect(namesIn(cluster.acceptors.get(c)!.decided)).to.deep.equal(["first", "second"]);
  });

  it("answers a stale instance with the newer document, and hands the base to one that is behind", () => {
    const members = numbered(3, withToken);
    const cluster = new Cluster(documentOf(members));
    const [a, b, c] = members.map((member) => member.id) as [string, string, string];
    const first = cluster.propose(a, appending("first"));
    cluster.run(first, first.start(), [c]);
    const stale = cluster.propose(c, appending("stale"));
    cluster.run(stale, stale.start(), [a]);
    expect(stale.verdict().kind).to.equal("lost");
    // c still holds version 1: it learns version 2 from the proposer that builds on it.
    expect(cluster.acceptors.get(c)!.decided.version).to.equal(1);
    const next = cluster.propose(b, appending("next"));
    cluster.run(next, next.start(), [a]);
    expect(next.verdict().kind).to.equal("decided");
    expect(namesIn(cluster.acceptors.get(c)!.decided)).to.deep.equal(["first", "next"]);
  });

  it("refuses a change that its function refuses or that leaves a fault, and knows when nothing is to do", () => {
    const members = numbered(3, withToken);
    const cluster = new Cluster(documentOf(members));
    const verdictOf = (change: RingChange) => {
      const proposer = cluster.propose(members[0]!.id, change);
      cluster.run(proposer, proposer.start());
      // Ballots of the proposals before are higher for the first attempt.
      for (let attempt = 0; attempt < 5 && proposer.verdict().kind === "preempted"; attempt++) {
        cluster.run(proposer, proposer.start());
      }
      return proposer.verdict();
    };
    expect(verdictOf(() => ({ refused: "no" }))).to.deep.equal({ kind: "refused", reason: "no" });
    expect(verdictOf((base) => ({ ...base, members: [] }))).to.deep.include({ kind: "refused" });
    expect(verdictOf((base) => ({ ...base, removed: [members[0]!.id] }))).to.deep.include({ kind: "refused" });
    expect(verdictOf((base) => base).kind).to.equal("unchanged");
  });

  it("lets nobody vote who is no member, and refuses documents of other clusters and forked ones", () => {
    const [a, b] = numbered(2, withToken) as [Member, Member];
    const outsider = new RingAcceptor(b.id, stateOf(documentOf([a])));
    const proposer = new RingProposer({ memberId: a.id, base: documentOf([a]), change: appending("x"), nonce: () => 1 });
    const [prepare] = proposer.start() as [OutgoingRequest];
    expect(outsider.handle(prepare.request).answer).to.deep.include({ kind: "refused", reason: "not-a-member" });
    const acceptor = new RingAcceptor(a.id, stateOf(documentOf([a], { replicas: { default: 2, dcs: [] } })));
    expect(acceptor.handle(prepare.request).answer).to.deep.include({ kind: "refused", reason: "forked" });
    const foreign = documentOf([a], { clusterId: Buffer.alloc(16, 9), version: 7 });
    expect(acceptor.handle({ kind: "learn", document: foreign }).answer).to.deep.include({
      kind: "refused",
      reason: "foreign",
    });
  });

  it("takes a forced document over all that the lost majority decides", () => {
    const members = numbered(3, withToken);
    const base = documentOf(members);
    const survivor = new RingAcceptor(members[0]!.id, stateOf(base));
    const forced = forceRingDocument(base, { ...base, members: [members[0]!] });
    expect(survivor.learn(forced)).to.equal("newer");
    const lostSide = new RingAcceptor(members[1]!.id, stateOf({ ...base, version: 1_000 }));
    expect(lostSide.learn(forced)).to.equal("newer");
    expect(forceRingDocument(forced, forced).version).to.be.above(forced.version);
  });

  it("stores what it promised and voted before it answers, and nothing for a request that comes twice", () => {
    const [a] = numbered(1, withToken) as [Member];
    const acceptor = new RingAcceptor(a.id, stateOf(documentOf([a])));
    const proposer = new RingProposer({ memberId: a.id, base: documentOf([a]), change: appending("x"), nonce: () => 1 });
    const [prepare] = proposer.start() as [OutgoingRequest];
    const promise = acceptor.handle(prepare.request);
    expect(promise.stored).to.deep.include({ vote: null });
    expect(acceptor.handle(prepare.request)).to.deep.equal({ answer: promise.answer, stored: null });
    const [accept] = proposer.receive(a.id, promise.answer) as [OutgoingRequest];
    const outcome = acceptor.handle(accept.request);
    expect(outcome.stored?.vote?.document.version).to.equal(2);
    expect(decodeAcceptorState(encodeAcceptorState(outcome.stored!))).to.deep.equal(outcome.stored);
    expect(acceptor.handle(accept.request).stored).to.equal(null);
    expect(acceptor.handle(prepare.request).answer).to.deep.include({ kind: "promised", vote: acceptor.state.vote });
  });

  it("decides at most one document a version, each the child of the one before, whatever is lost, doubled, late or crashed", function () {
    this.timeout(60_000);
    const met = { versions: 0, crashes: 0, changes: 0, lost: 0, adopted: 0 };
    for (let seed = 1; seed <= 250; seed++) {
      const run = new ChaosRun(seed);
      run.run();
      met.versions += run.decided.size;
      met.crashes += run.crashes;
      met.changes += run.memberChanges();
      met.lost += run.verdicts.get("lost") ?? 0;
    }
    // The runs reach what they are for.
    expect(met.versions).to.be.above(1_000);
    expect(met.crashes).to.be.above(500);
    expect(met.changes).to.be.above(200);
    expect(met.lost).to.be.above(100);
  });

  it("mints ids of 16 hexadecimal digits and orders ballots by counter, member and nonce", () => {
    expect(mintMemberId((length) => Buffer.alloc(length, 0xab))).to.equal("abababababababab");
    const ballot = { counter: 1, memberId: "a", nonce: 5 };
    expect(compareBallots(ballot, ballot)).to.equal(0);
    for (const higher of [{ counter: 2 }, { memberId: "b" }, { nonce: 6 }]) {
      expect(compareBallots(ballot, { ...ballot, ...higher })).to.be.below(0);
    }
  });
});

describe("ring messages", () => {
  const ballot = { counter: 3, memberId: "00000000000000ab", nonce: 2 ** 47 };
  const document = documentOf([withToken(1)], { version: 8 });
  const instance = { version: 8, baseCheck: 0xdeadbeef };

  it("come back from their bytes as they were", () => {
    const requests: RingRequest[] = [
      { kind: "prepare", instance, ballot, base: documentOf([]) },
      { kind: "accept", instance, ballot, document, base: null },
      { kind: "accept", instance, ballot, document, base: document },
      { kind: "learn", document },
      { kind: "fetch", version: 3 },
    ];
    for (const request of requests) expect(decodeRingRequest(encodeRingRequest(request))).to.deep.equal(request);
    const answers: RingAnswer[] = [
      { kind: "promised", ballot, vote: { ballot, document } },
      { kind: "decided", document },
      { kind: "refused", ballot: null, reason: "foreign" },
      { kind: "refused", ballot, reason: "not-a-member" },
    ];
    for (const answer of answers) expect(decodeRingAnswer(encodeRingAnswer(answer))).to.deep.equal(answer);
  });

  it("are refused where a proposer could not go on above them", () => {
    const last = { ...ballot, counter: Number.MAX_SAFE_INTEGER };
    expect(() => decodeRingAnswer(encodeRingAnswer({ kind: "preempted", ballot, promised: last })))
      .to.throw()
      .with.property("code", "CORRUPT");
  });

  it("keep their form", () => {
    const b = "0300000000000000ab80808080808020";
    const prepare: RingRequest = { kind: "prepare", instance, ballot, base: null };
    expect(encodeRingRequest(prepare).toString("hex")).to.equal(`0108effdb6f50d${b}00`);
    const answers: [string, RingAnswer][] = [
      [`04${b}00`, { kind: "promised", ballot, vote: null }],
      [`05${b}`, { kind: "accepted", ballot }],
      [`06${b}${b}`, { kind: "preempted", ballot, promised: ballot }],
      [`08${b}06`, { kind: "behind", ballot, version: 6 }],
      ["0908", { kind: "learned", version: 8 }],
      [`0a01${b}03`, { kind: "refused", ballot, reason: "forked" }],
    ];
    for (const [hex, answer] of answers) {
      expect(encodeRingAnswer(answer).toString("hex")).to.equal(hex);
      expect(decodeRingAnswer(Buffer.from(hex, "hex"))).to.deep.equal(answer);
    }
  });
});

interface Packet {
  readonly from: string;
  readonly to: string;
  /** The proposer's number. */
  readonly proposal: number;
  readonly content: { readonly kind: "request"; readonly bytes: Buffer } | { readonly kind: "answer"; readonly bytes: Buffer };
}

/** One seed: members that propose, join and leave over a network that loses, doubles and reorders, and crash. */
class ChaosRun {
  /** Each version that anybody ever saw decided. */
  readonly decided = new Map<number, RingDocument>();
  readonly verdicts = new Map<string, number>();
  crashes = 0;
  readonly #seed: number;
  readonly #fraction: () => number;
  readonly #first: RingDocument;
  readonly #acceptors = new Map<string, RingAcceptor>();
  /** What each has on its disk. */
  readonly #disks = new Map<string, Buffer>();
  readonly #proposals = new Map<number, { readonly by: string; readonly proposer: RingProposer }>();
  #packets: Packet[] = [];
  #proposalCount = 0;

  constructor(seed: number) {
    this.#seed = seed;
    this.#fraction = fractions(seed * 7_919);
    this.#first = documentOf(numbered(1 + this.#below(5), withToken));
    this.#see(this.#first);
    for (const { id } of this.#first.members) this.#boot(id, this.#first);
  }

  run(): void {
    for (let step = 0; step < 400; step++) {
      const draw = this.#fraction();
      if (draw < 0.05) this.#propose();
      else if (draw < 0.08) this.#crash();
      else if (draw < 0.1) this.#retry();
      else this.#deliver();
    }
    this.#settle();
  }

  memberChanges(): number {
    let changes = 0;
    for (const [version, document] of this.decided) {
      const before = this.decided.get(version - 1);
      if (before !== undefined && before.members.length !== document.members.length) changes++;
    }
    return changes;
  }

  #below(limit: number): number {
    return Math.floor(this.#fraction() * limit);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)]!;
  }

  #boot(id: string, document: RingDocument): void {
    this.#disks.set(id, encodeAcceptorState(stateOf(document)));
    this.#acceptors.set(id, new RingAcceptor(id, stateOf(document)));
  }

  /** The heart of the matter: what is decided was not decided otherwise, and descends from what was decided before. */
  #see(document: RingDocument): void {
    const known = this.decided.get(document.version);
    if (known !== undefined) {
      if (!isSameDocument(known, document)) throw new Error(`seed ${this.#seed}: two documents of version ${document.version}`);
      return;
    }
    this.decided.set(document.version, document);
    for (const version of [document.version, document.version + 1]) {
      const [parent, child] = [this.decided.get(version - 1), this.decided.get(version)];
      if (parent === undefined || child === undefined) continue;
      const [before, after] = [namesIn(parent), namesIn(child)];
      const descends = after.length === before.length + 1 && before.every((name, at) => after[at] === name);
      if (!descends) throw new Error(`seed ${this.#seed}: version ${version} does not descend from ${version - 1}`);
    }
  }

  #propose(): void {
    const by = this.#pick([...this.#acceptors.keys()]);
    const number = ++this.#proposalCount;
    const draw = this.#fraction();
    const change: RingChange = (base) => {
      const changed = appending(`p${number}`)(base) as RingDocument;
      if (changed === base) return base;
      const newcomer = withToken(100 + number);
      if (draw < 0.3 && base.members.length < 7) return { ...changed, members: [...base.members, newcomer] };
      if (draw < 0.5 && base.members.length > 1) return { ...changed, members: base.members.slice(1) };
      return changed;
    };
    const proposer = new RingProposer({
      memberId: by,
      base: this.#acceptors.get(by)!.decided,
      change,
      nonce: () => this.#below(2 ** 30),
    });
    this.#proposals.set(number, { by, proposer });
    this.#send(number, proposer.start());
  }

  #send(proposal: number, requests: readonly OutgoingRequest[]): void {
    const { by } = this.#proposals.get(proposal)!;
    for (const { to, request } of requests) {
      this.#packets.push({ from: by, to, proposal, content: { kind: "request", bytes: encodeRingRequest(request) } });
    }
  }

  #deliver(): void {
    if (this.#packets.length === 0) return;
    const at = this.#below(this.#packets.length);
    const packet = this.#packets[at]!;
    const draw = this.#fraction();
    // One in ten comes twice.
    if (draw > 0.1) this.#packets.splice(at, 1);
    // One in eight is lost.
    if (draw > 0.875) return;
    this.#receive(packet);
  }

  #receive(packet: Packet): void {
    if (packet.content.kind === "request") this.#answer(packet, decodeRingRequest(packet.content.bytes));
    else this.#take(packet, decodeRingAnswer(packet.content.bytes));
  }

  #answer({ from, to, proposal }: Packet, request: RingRequest): void {
    if (request.kind === "learn") this.#see(request.document);
    // Who is named a member starts with the document that names it.
    if (!this.#acceptors.has(to)) this.#boot(to, request.kind === "learn" ? request.document : this.#first);
    const { answer, stored } = this.#acceptors.get(to)!.handle(request);
    if (stored !== null) {
      // A crash between the write and the answer: the state is there, the answer is not.
      this.#disks.set(to, encodeAcceptorState(stored));
      this.#see(stored.decided);
      if (this.#fraction() < 0.02) return this.#restart(to);
    }
    this.#packets.push({ from: to, to: from, proposal, content: { kind: "answer", bytes: encodeRingAnswer(answer) } });
  }

  #take({ from, proposal }: Packet, answer: RingAnswer): void {
    if (answer.kind === "decided") this.#see(answer.document);
    const running = this.#proposals.get(proposal);
    if (running === undefined) return;
    this.#send(proposal, running.proposer.receive(from, answer));
    this.#note(proposal);
  }

  #note(proposal: number): void {
    const verdict = this.#proposals.get(proposal)!.proposer.verdict();
    if (verdict.kind === "waiting" || verdict.kind === "preempted" || verdict.kind === "no-majority") return;
    if (verdict.kind === "decided" || verdict.kind === "lost") this.#see(verdict.document);
    this.verdicts.set(verdict.kind, (this.verdicts.get(verdict.kind) ?? 0) + 1);
    this.#proposals.delete(proposal);
  }

  /** A member stops: its proposals are gone, its packets under way are not, its votes come back from the disk. */
  #crash(): void {
    this.#restart(this.#pick([...this.#acceptors.keys()]));
  }

  #restart(id: string): void {
    this.crashes++;
    for (const [number, { by }] of this.#proposals) if (by === id) this.#proposals.delete(number);
    this.#acceptors.set(id, new RingAcceptor(id, decodeAcceptorState(this.#disks.get(id)!)));
  }

  #retry(): void {
    for (const [number, { proposer }] of this.#proposals) {
      if (this.#fraction() < 0.5 && proposer.verdict().kind === "waiting") proposer.timeUp();
      const { kind } = proposer.verdict();
      if (kind === "preempted" || kind === "no-majority") this.#send(number, proposer.start());
    }
  }

  /** The network is quiet: one proposal after the other, in order and without loss, decides. */
  #settle(): void {
    this.#packets = [];
    this.#proposals.clear();
    for (let round = 0; round < 20; round++) {
      const newest = [...this.decided.values()].reduce((a, b) => (a.version > b.version ? a : b));
      const by = newest.members[0]!.id;
      for (const { id } of newest.members) {
        if (!this.#acceptors.has(id)) this.#boot(id, newest);
        this.#acceptors.get(id)!.learn(newest);
      }
      const change = appending(`settle-${round}`);
      const proposer = new RingProposer({ memberId: by, base: newest, change, nonce: () => this.#below(2 ** 30) });
      const number = ++this.#proposalCount;
      this.#proposals.set(number, { by, proposer });
      for (let attempt = 0; attempt < 3 && this.#proposals.has(number); attempt++) {
        if (attempt > 0 && proposer.verdict().kind === "waiting") proposer.timeUp();
        this.#send(number, proposer.start());
        for (let packet = this.#packets.shift(); packet !== undefined; packet = this.#packets.shift()) this.#receive(packet);
      }
      // A crash may have taken the proposer; else it came through, the first time perhaps with another's document.
      if (proposer.verdict().kind === "decided") return;
    }
    throw new Error(`seed ${this.#seed}: nothing was decided on a quiet network`);
  }
}
