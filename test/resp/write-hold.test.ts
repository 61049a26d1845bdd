/** Writes that the engine has no room for wait in front of it, and make their clients wait. */
import { expect } from "chai";
import { Harness, ioError, request } from "./harness.js";

const KB = 1_024;
const LARGE = "x".repeat(200 * KB);

describe("writes without room", () => {
  it("do not begin, and nothing of their connection does behind them, until there is room", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    const client = harness.client();
    gate.backlogNow = "stopped";
    client.send(request("PING") + request("WLATER", "1") + request("WLATER", "2") + request("E", "3"));
    await clock.settle();
    expect(client.take()).to.equal("+PONG\r\n");
    expect([dispatcher.held.length, dispatcher.ran.at(-1)]).to.deep.equal([0, "WLATER 1"]);
    gate.makeRoom("open");
    await clock.settle();
    expect(dispatcher.held.map(({ words }) => words[1])).to.deep.equal(["1"]);
    dispatcher.held[0]!.answer();
    await clock.settle();
    dispatcher.held[1]!.answer();
    await clock.settle();
    expect(client.take()).to.equal(request("WLATER", "1") + request("WLATER", "2") + request("E", "3"));
  });

  it("let what they wait behind go first, and keep their place", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    const client = harness.client();
    client.send(request("LATER", "1"));
    await clock.settle();
    gate.backlogNow = "stopped";
    client.send(request("WLATER", "2") + request("PING"));
    await clock.settle();
    gate.makeRoom("open");
    await clock.settle();
    expect(dispatcher.held.length).to.equal(1);
    dispatcher.held[0]!.answer();
    await clock.settle();
    dispatcher.held[1]!.answer();
    await clock.settle();
    expect(client.take()).to.equal(`${request("LATER", "1")}${request("WLATER", "2")}+PONG\r\n`);
  });

  it("have their client's input wait in its socket, while others read on", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    const [writer, reader] = [harness.client(), harness.client()];
    gate.backlogNow = "stopped";
    for (let count = 0; count < 20; count++) writer.send(request("WLATER", LARGE));
    reader.send(request("LATER", "1") + request("ALONE", "2"));
    await clock.settle();
    expect(writer.connection.pendingBytes).to.be.above(10 * LARGE.length);
    dispatcher.held[0]!.answer();
    await clock.settle();
    dispatcher.held[1]!.answer();
    await clock.settle();
    expect(reader.take()).to.equal(request("LATER", "1") + request("ALONE", "2"));
    gate.makeRoom("open");
    for (let count = 0; count < 20; count++) {
      await clock.settle();
      dispatcher.held[2 + count]!.answer();
    }
    await clock.settle();
    expect(writer.take().length).to.equal(20 * request("WLATER", LARGE).length);
    expect(writer.connection.pendingBytes).to.equal(0);
  });

  it("begin few at a time, in order, by their bytes, and stop when room is used up again", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    gate.backlogNow = "stopped";
    const clients = Array.from({ length: 6 }, () => harness.client());
    for (const [at, client] of clients.entries()) client.send(request("WLATER", `${at}`, LARGE));
    await clock.settle();
    gate.makeRoom("open");
    await clock.settle();
    const begun = (): readonly string[] => dispatcher.held.map(({ words }) => words[1]!);
    expect(begun()).to.deep.equal(["0", "1"]);
    dispatcher.held[0]!.answer();
    await clock.settle();
    expect(begun()).to.deep.equal(["0", "1", "2"]);
    gate.backlogNow = "stopped";
    dispatcher.held[1]!.answer();
    dispatcher.held[2]!.answer();
    await clock.settle();
    expect(begun()).to.deep.equal(["0", "1", "2"]);
    gate.makeRoom("slow");
    await clock.settle();
    expect(begun()).to.deep.equal(["0", "1", "2", "3", "4"]);
    dispatcher.held[3]!.answer();
    await clock.settle();
    expect(begun()).to.deep.equal(["0", "1", "2", "3", "4", "5"]);
  });

  it("are not held while room is short, unless much is under way", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    gate.backlogNow = "slow";
    const client = harness.client();
    client.send(request("WLATER", "1") + request("WLATER", LARGE) + request("WLATER", LARGE) + request("WLATER", "4"));
    await clock.settle();
    expect(dispatcher.held.length).to.equal(3);
    dispatcher.held[0]!.answer();
    dispatcher.held[1]!.answer();
    await clock.settle();
    expect(dispatcher.held.length).to.equal(3);
    dispatcher.held[2]!.answer();
    await clock.settle();
    expect(dispatcher.held.length).to.equal(4);
  });

  it("begin without room when they were held for long enough", async () => {
    const harness = await Harness.start({ settings: { writeHoldMsMax: 5_000 } });
    const { dispatcher, gate, clock } = harness;
    gate.backlogNow = "stopped";
    harness.client().send(request("WLATER", "1"));
    await clock.settle();
    await clock.advance(4_999);
    expect(dispatcher.held.length).to.equal(0);
    await clock.advance(1);
    expect(dispatcher.held.length).to.equal(1);
    gate.makeRoom("open");
    await clock.settle();
    expect(dispatcher.held.length).to.equal(1);
  });

  it("all begin when the disk refuses what would make room, to be told so", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    gate.backlogNow = "stopped";
    for (let count = 0; count < 5; count++) harness.client().send(request("WLATER", LARGE));
    await clock.settle();
    gate.refuseRoom(ioError("no space left"));
    await clock.settle();
    expect(dispatcher.held.length).to.equal(5);
  });

  it("never begin when their client is gone, and do not keep others waiting", async () => {
    const harness = await Harness.start();
    const { dispatcher, gate, clock } = harness;
    gate.backlogNow = "stopped";
    const [gone, stays] = [harness.client(), harness.client()];
    gone.send(request("WLATER", "gone"));
    stays.send(request("WALONE", "stays"));
    await clock.settle();
    gone.connection.destroy();
    await clock.settle();
    gate.makeRoom("open");
    await clock.settle();
    expect(dispatcher.held.map(({ words }) => words[1])).to.deep.equal(["stays"]);
    await clock.advance(60_000);
    expect(dispatcher.held.length).to.equal(1);
  });
});
