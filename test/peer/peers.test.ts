/** Links between nodes in virtual time: calls, deadlines, limits, and what becomes of them when links and peers fail. */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { PeerCallError, type PeerRequest } from "../../lib/peer/peer.js";
import { type Outcome, World } from "./world.js";

describe("peers", () => {
  it("answer each other's calls, over links that each dialled itself", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    b.knows(a);
    await world.pass(20);
    expect(a.ups).to.deep.equal(["b"]);
    expect(b.ups).to.deep.equal(["a"]);
    const [there, back] = [a.ask("b", "there"), b.ask("a", "back")];
    await world.pass(1);
    expect([there.answer, back.answer]).to.deep.equal(["there", "back"]);
    expect(a.peers.state("b")?.status).to.equal("connected");
    expect(a.peers.isUsable("b")).to.equal(true);
    expect(a.peers.state("b")?.latencyMs).to.be.at.least(0);
    const answer = await world.clock.run(
      a.peers.call({ to: "b", kind: 1, payload: Buffer.from("hi"), deadlineMs: a.deadline() }),
    );
    expect(answer.toString()).to.equal("hi");
  });

  it("answer however the stream is cut", async () => {
    for (let bytes = 1; bytes <= 40; bytes++) {
      const world = new World({ cut: (length) => Math.min(length, bytes) });
      const [a] = await world.pair();
      const outcomes = ["", "x", "y".repeat(100), "z".repeat(3_000)].map((text) => a.ask("b", text));
      await world.pass(1);
      for (const outcome of outcomes) expect(outcome.answer).to.equal(outcome.payload.toString());
    }
  });

  it("send all of one turn in one write", async () => {
    const world = new World();
    const sizes: number[] = [];
    const [a, b] = await world.pair();
    const link = world.network.connectNow({ host: "b", port: b.port });
    const { prototype } = link.constructor as { prototype: { write(bytes: Buffer): void } };
    link.destroy();
    await world.pass(1);
    const original = prototype.write;
    prototype.write = function (bytes: Buffer): void {
      sizes.push(bytes.length);
      original.call(this, bytes);
    };
    try {
      const outcomes = Array.from({ length: 50 }, (_, index) => a.ask("b", `call ${index}`));
      await world.pass(1);
      expect(outcomes.every((outcome) => outcome.answer !== null)).to.equal(true);
    } finally {
      prototype.write = original;
    }
    expect(sizes.length).to.equal(2);
  });

  it("of different builds talk at the lower version: a call of a later kind fails at once, unsent, and says what to do", async () => {
    const world = new World();
    const newer = await world.node("newer", { versions: { min: 1, max: 3 } });
    const older = await world.node("older", { versions: { min: 1, max: 2 } });
    const served: string[] = [];
    for (const node of [newer, older]) {
      node.peers.serve(2, (request) => request.answer(request.payload), 2);
      node.peers.serve(
        3,
        (request) => {
          served.push(node.id);
          request.answer(request.payload);
        },
        3,
      );
    }
    expect(newer.peers.versionOf("older"), "before there is a link").to.equal(null);
    newer.knows(older);
    older.knows(newer);
    await world.pass(20);
    expect([newer.peers.versionOf("older"), older.peers.versionOf("newer")]).to.deep.equal([2, 2]);
    const [known, unknown, back] = [
      newer.ask("older", "x", { kind: 2 }),
      newer.ask("older", "x", { kind: 3 }),
      older.ask("newer", "x", { kind: 3 }),
    ];
    const sentMs = world.clock.monotonicMs();
    expect(newer.peers.notify({ to: "older", kind: 3, payload: Buffer.alloc(0) })).to.equal(false);
    await world.pass(1);
    expect([known.answer, unknown.failure, back.failure]).to.deep.equal(["x", "NO_HANDLER", "NO_HANDLER"]);
    expect(unknown.text).to.equal("it speaks protocol 2, this call is of protocol 3: upgrade it first");
    expect([unknown.told, served.length, world.clock.monotonicMs() - sentMs]).to.deep.equal([1, 0, 1]);
    // Upgraded, it comes back on the same address.
    await world.clock.run(older.peers.close());
    const upgraded = await world.node("older", { versions: { min: 1, max: 3 }, port: older.port });
    upgraded.peers.serve(3, (request) => request.answer(request.payload), 3);
    await world.pass(5_000);
    expect(newer.peers.versionOf("older")).to.equal(3);
    const again = newer.ask("older", "y", { kind: 3 });
    await world.pass(1);
    expect(again.answer).to.equal("y");
  });

  it("write payloads and answers in place, and notices without an answer", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    const noticed: string[] = [];
    b.peers.serve(2, (request) => {
      noticed.push(`${request.from} ${request.payload.toString()} ${request.isNotice}`);
      request.answer();
      const out = request.beginAnswer(10);
      expect(out).to.equal(null);
    });
    b.peers.serve(3, (request) => {
      const out = request.beginAnswer(10)!;
      out.at += out.bytes.write("in place", out.at);
      request.endAnswer();
    });
    const outcome = a.ask("b", "");
    const written = { to: "b", kind: 3, deadlineMs: a.deadline(), answer: "", onFailure: () => undefined } as never as Outcome;
    written.onAnswer = (payload) => {
      written.answer = payload.toString();
    };
    const out = a.peers.begin(written, 100)!;
    out.at += out.bytes.write("short", out.at);
    a.peers.end();
    expect(a.peers.notify({ to: "b", kind: 2, payload: Buffer.from("news") })).to.equal(true);
    expect(a.peers.notify({ to: "nobody", kind: 2, payload: Buffer.from("news") })).to.equal(false);
    await world.pass(1);
    expect(outcome.answer).to.equal("");
    expect(written.answer).to.equal("in place");
    expect(noticed).to.deep.equal(["a news true"]);
  });

  it("drop a notice that makes no sense, and go on", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    b.peers.serve(2, () => {
      throw new OperatingError("CORRUPT", "makes no sense");
    });
    b.peers.serve(3, (request) => request.answer(Buffer.from("here")));
    expect(a.peers.notify({ to: "b", kind: 2, payload: Buffer.from("nonsense") })).to.equal(true);
    const outcome = a.ask("b", "", { kind: 3 });
    await world.pass(5);
    expect(outcome.answer).to.equal("here");
  });

  it("give the payload to a handler for the time of its call only, and let it answer later", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    const kept: PeerRequest[] = [];
    b.peers.serve(2, (request) => {
      kept.push(request);
    });
    b.peers.serve(3, () => {
      throw new OperatingError("CORRUPT", "makes no sense");
    });
    const [later, refused, failed, unknown] = [2, 2, 3, 9].map((kind) => a.ask("b", "text", { kind })) as Outcome[];
    await world.pass(5);
    expect(kept[0]!.payload.length).to.equal(0);
    kept[0]!.answer(Buffer.from("later"));
    kept[1]!.refuse("FAILED", "not today");
    expect(() => kept[0]!.answer()).to.throw("answered once");
    await world.pass(1);
    expect(later!.answer).to.equal("later");
    expect([refused!.failure, refused!.text]).to.deep.equal(["FAILED", "not today"]);
    expect([failed!.failure, failed!.text]).to.deep.equal(["FAILED", "makes no sense"]);
    expect(unknown!.failure).to.equal("NO_HANDLER");
  });

  it("tell a call TIMEOUT at its deadline, once, whatever comes later", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    const kept: PeerRequest[] = [];
    b.peers.serve(2, (request) => {
      kept.push(request);
    });
    const [short, long] = [a.ask("b", "", { kind: 2, inMs: 50 }), a.ask("b", "", { kind: 2, inMs: 500 })];
    await world.pass(49);
    expect(short.told).to.equal(0);
    await world.pass(3);
    expect(short.failure).to.equal("TIMEOUT");
    expect(kept[0]!.isLate()).to.equal(true);
    expect(kept[1]!.isLate()).to.equal(false);
    for (const request of kept) request.answer();
    await world.pass(1_000);
    expect([short.told, long.told, long.answer]).to.deep.equal([1, 1, ""]);
    const past = a.ask("b", "", { inMs: -1 });
    expect(past.told).to.equal(0);
    await world.pass(1);
    expect(past.failure).to.equal("TIMEOUT");
  });

  it("refuse what lay in a stopped process's buffers, whatever the two clocks show", async () => {
    for (const aheadMs of [0, 5_000_000, -5_000_000]) {
      const world = new World();
      const [a, b] = await world.pair({ aheadMs, settings: { silenceMsMax: 60_000 } }, { settings: { idleMsMax: 90_000 } });
      let runs = 0;
      b.peers.serve(2, (request) => {
        runs++;
        request.answer();
      });
      b.stop();
      const stale = a.ask("b", "", { kind: 2, inMs: 1_000 });
      a.peers.notify({ to: "b", kind: 2, payload: Buffer.alloc(0), deadlineMs: a.deadline(1_000) });
      await world.pass(3_000);
      const fresh = a.ask("b", "", { kind: 2, inMs: 1_000 });
      await world.pass(10);
      expect(stale.failure).to.equal("TIMEOUT");
      expect(a.peers.state("b")?.missedDeadlines).to.equal(1);
      b.goOn();
      await world.pass(10);
      expect(fresh.answer).to.equal("");
      expect(runs).to.equal(1);
      expect(a.peers.state("b")?.missedDeadlines).to.equal(0);
      expect(a.downs).to.deep.equal([]);
    }
  });

  it("judge deadlines anew, over a new link, when the clock of who calls has stood still", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    for (let pauses = 1; pauses <= 3; pauses++) {
      a.stop();
      await world.pass(3_000);
      a.goOn();
      a.clock.pauseOf(3_000);
      await world.pass(10);
      const refused = a.ask("b", "early", { inMs: 1_000 });
      await world.pass(200);
      expect(refused.failure).to.equal("LATE");
      expect(a.downs.length).to.equal(pauses);
      const next = a.ask("b", "next", { inMs: 1_000 });
      await world.pass(5_000);
      expect(next.answer).to.equal("next");
      expect(a.downs.length).to.equal(pauses);
    }
    expect(a.logged.some((text) => text.includes("stood still"))).to.equal(true);
    expect(b.downs).to.deep.equal([]);
  });

  it("keep the link when calls are late by both clocks: a slow way, or a process that was stopped", async () => {
    const world = new World();
    const [a, b] = await world.pair({ settings: { silenceMsMax: 60_000 } }, { settings: { idleMsMax: 90_000 } });
    world.network.setDelay("a", "b", 150);
    const slow = a.ask("b", "", { inMs: 100 });
    await world.pass(1_000);
    world.network.setDelay("a", "b", 0);
    b.stop();
    const stopped = a.ask("b", "", { inMs: 500 });
    await world.pass(10);
    a.stop();
    await world.pass(2_000);
    b.goOn();
    await world.pass(10);
    // Its answer is read before the timer that would have told it TIMEOUT.
    world.network.thaw("a");
    await world.pass(1);
    a.goOn();
    await world.pass(10);
    expect([slow.failure, stopped.failure]).to.deep.equal(["TIMEOUT", "LATE"]);
    expect(a.downs).to.deep.equal([]);
  });

  it("are not blamed for silence by a process that was itself stopped", async () => {
    const world = new World();
    const [a, b] = await world.pair({ settings: { silenceMsMax: 3_000 } });
    a.stop();
    await world.pass(20_000);
    a.goOn();
    await world.pass(2_000);
    expect(a.downs).to.deep.equal([]);
    expect(b.peers.state("a")).to.equal(null);
  });

  it("fail their calls at once when a connection breaks, and are dialled again", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    b.peers.serve(2, () => undefined);
    const open = a.ask("b", "", { kind: 2 });
    await world.pass(1);
    world.network.dropAll();
    await world.pass(1);
    expect(open.failure).to.equal("UNAVAILABLE");
    expect(open.text).to.contain("may have taken effect");
    const unsent = a.ask("b", "");
    await world.pass(1);
    expect(unsent.failure).to.equal("UNAVAILABLE");
    expect(a.peers.state("b")?.status).to.equal("down");
    expect(a.peers.state("b")?.downSinceMs).to.be.a("number");
    await world.pass(100);
    expect(a.ups).to.deep.equal(["b", "b"]);
    expect(a.downs).to.deep.equal(["b"]);
    expect(open.told + unsent.told).to.equal(2);
  });

  it("that are cut off silently miss deadlines, are pinged, go down, and come back when the way is free", async () => {
    const world = new World();
    const [a, b] = await world.pair({ settings: { silenceMsMax: 4_000 } });
    world.network.cutOff(["a"], ["b"]);
    const lost = [1, 2, 3].map(() => a.ask("b", "", { inMs: 200 }));
    await world.pass(210);
    expect(lost.map((outcome) => outcome.failure)).to.deep.equal(["TIMEOUT", "TIMEOUT", "TIMEOUT"]);
    expect(a.peers.state("b")?.missedDeadlines).to.equal(3);
    expect(a.peers.isUsable("b")).to.equal(false);
    expect(a.peers.state("b")?.status).to.equal("connected");
    await world.pass(5_000);
    expect(a.downs).to.deep.equal(["b"]);
    world.network.heal();
    await world.pass(5_000);
    const outcome = a.ask("b", "back");
    await world.pass(5);
    expect(outcome.answer).to.equal("back");
    expect(b.peers.isUsable("a")).to.equal(false);
  });

  it("on idle links are pinged, and an idle link stays up", async () => {
    const world = new World();
    const [a] = await world.pair();
    await world.pass(120_000);
    expect(a.downs).to.deep.equal([]);
    expect(a.peers.state("b")!.lastAnswerMs!).to.be.above(118_000);
  });

  it("over a slow way are known to be so, and their calls are not late", async () => {
    const world = new World();
    world.network.setDelay("a", "b", 30);
    world.network.setDelay("b", "a", 50);
    const [a] = await world.pair();
    await world.pass(1_000);
    const outcomes = Array.from({ length: 20 }, () => a.ask("b", "x", { inMs: 81 }));
    await world.pass(79);
    expect(outcomes.some((outcome) => outcome.told > 0)).to.equal(false);
    await world.pass(3);
    expect(outcomes.every((outcome) => outcome.answer === "x")).to.equal(true);
    expect(a.peers.state("b")!.latencyMs).to.be.within(79, 81);
    expect(a.peers.state("b")!.usualMsMax).to.be.within(79, 100);
    expect(a.downs).to.deep.equal([]);
  });

  it("are dialled with a wait that doubles up to its bound, and complained of once", async () => {
    const world = new World();
    const a = await world.node("a");
    const dialledMs: number[] = [];
    const original = world.network.connectAs.bind(world.network);
    world.network.connectAs = (name, options) => {
      dialledMs.push(world.clock.monotonicMs());
      return original(name, options);
    };
    a.peers.setAddress("b", { host: "b", port: 999 });
    await world.pass(20_000);
    const waitsMs = dialledMs.slice(1).map((ms, index) => ms - dialledMs[index]!);
    waitsMs.forEach((ms, index) => {
      const backOffMs = Math.min(50 * 2 ** index, 2_000);
      expect(ms).to.be.within(backOffMs / 2, backOffMs + 1);
    });
    expect(dialledMs.length).to.be.within(14, 25);
    expect(new Set(waitsMs).size).to.be.above(5);
    expect(a.logged.length).to.equal(1);
    expect(a.logged[0]).to.contain("b:999");
  });

  it("bound calls, bytes and handlers: what is beyond fails with BUSY at once", async () => {
    const world = new World();
    const settings = { callsMax: 10, queuedBytesMax: 300_000, handlersMax: 4 };
    const [a, b] = await world.pair({ settings }, { settings });
    const kept: PeerRequest[] = [];
    b.peers.serve(2, (request) => {
      kept.push(request);
    });
    const calls = Array.from({ length: 12 }, () => a.ask("b", "", { kind: 2 }));
    await world.pass(5);
    expect(calls.filter((call) => call.failure === "BUSY").length).to.equal(8);
    expect(kept.length).to.equal(4);
    for (const request of kept.splice(0)) request.answer();
    await world.pass(5);
    expect(calls.filter((call) => call.answer === "").length).to.equal(4);
    const large = [1, 2].map(() => a.ask("b", "x".repeat(200_000)));
    await world.pass(5);
    expect(large.map((call) => call.failure)).to.deep.equal([null, "BUSY"]);
    expect(large[0]!.answer?.length).to.equal(200_000);
  });

  it("refuse payloads that are too large on either side, and the link survives", async () => {
    const world = new World({ cut: (length) => Math.min(length, 1_000) });
    const [a, b] = await world.pair({ settings: { frameBytesMax: 10_000 } }, { settings: { frameBytesMax: 2_000 } });
    b.peers.serve(2, (request) => request.answer(Buffer.alloc(3_000)));
    b.knows(a);
    a.peers.serve(2, (request) => request.answer(Buffer.alloc(5_000)));
    await world.pass(20);
    const calls = [a.ask("b", "x".repeat(20_000)), a.ask("b", "x".repeat(9_000)), a.ask("b", "", { kind: 2 })];
    const back = b.ask("a", "", { kind: 2 });
    const small = [a.ask("b", "small"), b.ask("a", "small")];
    await world.pass(5);
    for (const call of [...calls, back]) {
      expect(call.failure).to.equal("TOO_LARGE");
      expect(call.text).to.contain("frameBytesMax");
    }
    for (const call of small) expect(call.answer).to.equal("small");
    expect([...a.downs, ...b.downs]).to.deep.equal([]);
  });

  it("that do not read their answers are not read any more, and cost bounded memory", async () => {
    const world = new World();
    const settings = { queuedBytesMax: 262_144 };
    const [a, b] = await world.pair({ settings: { ...settings, silenceMsMax: 60_000 } }, { settings });
    let runs = 0;
    b.peers.serve(2, (request) => {
      runs++;
      request.answer(Buffer.alloc(10_000));
    });
    world.network.cutWay("b", "a");
    const calls = Array.from({ length: 500 }, () => a.ask("b", "", { kind: 2, inMs: 30_000 }));
    await world.pass(100);
    // Half of what may be queued, and a window of the network.
    expect(runs).to.be.within(13, 22);
    world.network.heal();
    await world.pass(100);
    expect(calls.filter((call) => call.answer?.length === 10_000).length).to.equal(500);
  });

  it("that were forgotten or whose node closes fail their calls", async () => {
    const world = new World();
    const [a, b] = await world.pair();
    b.peers.serve(2, () => undefined);
    const open = a.ask("b", "", { kind: 2 });
    await world.pass(1);
    a.peers.forget("b");
    expect(open.failure).to.equal("UNAVAILABLE");
    expect(a.peers.state("b")).to.equal(null);
    const unknown = a.ask("b", "");
    await world.pass(1);
    expect(unknown.failure).to.equal("UNAVAILABLE");
    a.knows(b);
    await world.pass(20);
    const last = world.clock.run(a.peers.call({ to: "b", kind: 2, payload: Buffer.alloc(0), deadlineMs: a.deadline() }));
    const noted = last.catch((error: unknown) => error);
    await world.pass(1);
    await a.peers.close();
    const error = await noted;
    expect(error).to.be.instanceOf(PeerCallError);
    expect((error as PeerCallError).failure).to.equal("UNAVAILABLE");
    await b.peers.close();
    await world.pass(10);
    expect(world.network.openEnds).to.equal(0);
  });
});
