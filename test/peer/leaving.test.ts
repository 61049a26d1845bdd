/** Nodes that are about to stop, and two processes that say that they are the same node. */
import { expect } from "chai";
import { PeerRefusal, type PeerRequest } from "../../lib/peer/peer.js";
import { World } from "./world.js";

describe("a peer that is about to stop", () => {
  it("is sent nothing more, answers what it was sent, and waits for that", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    const held: PeerRequest[] = [];
    b.peers.serve(2, (request) => held.push(request));
    const early = a.ask("b", "early", { kind: 2 });
    await world.pass(1);
    let hasLeft = false;
    const leaving = b.peers.leave(5_000).then(() => {
      hasLeft = true;
    });
    // Sent before the peer can have heard of it.
    const crossing = a.ask("b", "crossing", { kind: 2, inMs: 5_000 });
    expect(a.peers.isUsable("b")).to.equal(true);
    await world.pass(1);
    expect(a.peers.isUsable("b")).to.equal(false);
    expect(held.length).to.equal(2);
    await world.pass(500);
    expect(hasLeft).to.equal(false);
    for (const request of held) request.answer(Buffer.from("done"));
    await world.clock.run(leaving);
    expect([early.answer, crossing.answer]).to.deep.equal(["done", "done"]);
    expect(a.downs).to.deep.equal([]);
  });

  it("does not wait for ever, nor at all where nobody is linked", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    b.peers.serve(2, () => undefined);
    a.ask("b", "never answered", { kind: 2, inMs: 60_000 });
    await world.pass(1);
    const startMs = world.clock.monotonicMs();
    await world.clock.run(b.peers.leave(1_000));
    expect(world.clock.monotonicMs() - startMs).to.be.within(1_000, 1_050);
    const alone = await world.node("c");
    const aloneMs = world.clock.monotonicMs();
    await world.clock.run(alone.peers.leave(1_000));
    expect(world.clock.monotonicMs()).to.equal(aloneMs);
  });

  it("says so to who links with it meanwhile, and is used again when it has started again", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    await world.clock.run(b.peers.leave(100));
    const c = await world.node("c");
    c.knows(b);
    await world.pass(50);
    expect(c.peers.state("b")?.status).to.equal("connected");
    expect(c.peers.isUsable("b")).to.equal(false);
    await world.clock.run(b.peers.close());
    await world.node("b", { port: b.port });
    await world.pass(5_000);
    expect([a.peers.isUsable("b"), c.peers.isUsable("b")]).to.deep.equal([true, true]);
  });
});

describe("a second process with the identity of a peer", () => {
  it("is refused while the first is heard, in words, and harms it not", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    await world.pass(10_000);
    const copy = await world.node("a", { machine: "elsewhere" });
    let refusal: unknown = null;
    await world.clock.run(
      copy.peers.dial(b.address).catch((error: unknown) => {
        refusal = error;
      }),
    );
    expect(refusal).to.be.instanceOf(PeerRefusal);
    expect((refusal as PeerRefusal).reason).to.equal("twin");
    expect((refusal as PeerRefusal).message).to.contain("copy of its data directory");
    expect(a.downs).to.deep.equal([]);
    expect(a.ups).to.deep.equal(["b"]);
  });

  it("is taken for the first when that is heard no more", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    // As when its machine loses its power: nothing tells the other side.
    a.stop();
    const next = await world.node("a", { machine: "elsewhere" });
    next.knows(b);
    await world.pass(8_000);
    expect(next.peers.isUsable("b")).to.equal(true);
  });
});
