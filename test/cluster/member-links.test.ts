import { expect } from "chai";
import { Gossip, type GossipPeer } from "../../lib/cluster/gossip.js";
import { MemberLinks } from "../../lib/cluster/member-links.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import { RingKeeper } from "../../lib/cluster/ring-keeper.js";
import { silentLog } from "../../lib/log.js";
import { type TestNode, World } from "../peer/world.js";
import { contentsOf, idOf } from "./gossip-world.js";
import { documentOf, memberOf } from "./members.js";

const COUNT = 3;

/** A member with its links, its gossip and its keeper; the first is everybody's seed. */
class MemberNode {
  readonly node: TestNode;
  readonly gossip: Gossip;
  readonly keeper: RingKeeper;

  constructor(node: TestNode, at: number, seed: TestNode, document: RingDocument) {
    const { clock } = node;
    this.node = node;
    const links = new MemberLinks({ peers: node.peers, clock });
    const random = node.world.random.fork();
    this.keeper = new RingKeeper({
      memberId: node.id,
      state: { decided: document, promised: null, vote: null },
      store: () => undefined,
      ask: (to, request, deadlineMs) => links.askRing(to, request, deadlineMs),
      clock,
      random,
      log: silentLog,
    });
    const contents = { ...contentsOf(at), peerAddress: node.address };
    this.gossip = new Gossip({
      clock,
      random,
      log: silentLog,
      transport: links,
      self: { id: node.id, generation: 1, heartbeat: 1, changed: 1, contents },
      seeds: at === 0 ? [] : [seed.address],
      ringVersion: () => this.keeper.document.version,
      onNewerRing: (_from: GossipPeer) => Promise.resolve(),
      raiseGeneration: (above) => Promise.resolve(above + 1),
    });
    links.serve({ gossip: (message) => this.gossip.receive(message), ring: (request) => this.keeper.handle(request) });
    this.gossip.start();
  }

  get statuses(): string[] {
    return this.gossip.reports().map(({ status }) => status);
  }
}

describe("members over links", () => {
  it("find each other through a seed, agree on a change of the ring, and notice who dies", async () => {
    const world = new World({ seed: 5 });
    const nodes: TestNode[] = [];
    for (let at = 0; at < COUNT; at++) nodes.push(await world.node(idOf(at)));
    const document = documentOf(nodes.map((_, at) => memberOf(at + 1)));
    const members = nodes.map((node, at) => new MemberNode(node, at, nodes[0]!, document));
    await world.pass(10_000);
    for (const member of members) expect(member.statuses).to.deep.equal(["up", "up", "up"]);

    const changing = members[2]!.keeper.change(
      (base) => (base.databases.length > 0 ? base : { ...base, databases: [{ database: 1, settings: "{}" }] }),
      members[2]!.node.deadline(5_000),
    );
    expect((await world.clock.run(changing)).kind).to.equal("made");
    await world.pass(1_000);
    for (const { keeper } of members) expect(keeper.document).to.include({ version: 2 });

    nodes[0]!.stop();
    await world.pass(30_000);
    for (const member of members.slice(1)) expect(member.statuses).to.have.members(["up", "up", "down"]);
    for (const member of members) await member.gossip.stop();
    await world.clock.run(Promise.all(nodes.map((node) => node.peers.close())));
  });

  it("dial an address once for as long as whom they met there is linked, and again after that", async () => {
    const world = new World({ seed: 5 });
    const [asker, other] = [await world.node(idOf(0)), await world.node(idOf(1))];
    const links = new MemberLinks({ peers: asker.peers, clock: asker.clock });
    for (let times = 0; times < 3; times++) expect(await world.clock.run(links.meet(other.address))).to.equal(other.id);
    expect(other.hellos).to.have.length(1);
    await world.clock.run(other.peers.close());
    await world.pass(10);
    let error: unknown;
    await world.clock.run(
      links.meet(other.address).catch((thrown: unknown) => {
        error = thrown;
      }),
    );
    expect(error).to.include({ code: "UNAVAILABLE" });
    await world.clock.run(asker.peers.close());
  });
});
