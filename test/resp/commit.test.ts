/** Replies leave when the turn's changes are committed (and, where asked, acknowledged), and say so when they are not. */
import { expect } from "chai";
import { Harness, ioError, request } from "./harness.js";

const FAILED = "-IOERR no space left\r\n";

describe("commit and replies", () => {
  it("commits once a turn for all connections, before anything is sent", async () => {
    const harness = await Harness.start();
    const clients = [harness.client(), harness.client(), harness.client()];
    for (const client of clients) client.send(request("WECHO", "1").repeat(10));
    await harness.clock.settle();
    expect(harness.gate.commits).to.equal(1);
    for (const client of clients) expect(client.take()).to.equal(request("WECHO", "1").repeat(10));
  });

  it("a turn of writes whose replies are muted commits too", async () => {
    const harness = await Harness.start();
    await harness.exchange(request("REPLY", "off") + request("WECHO", "1"));
    expect(harness.gate.commits).to.equal(1);
  });

  it("when the commit fails, replies of writes become the error and the others stay", async () => {
    const harness = await Harness.start();
    harness.gate.failure = ioError("no space left");
    const { text, hasEnded } = await harness.exchange(
      request("E", "1") + request("WECHO", "2") + request("PING") + request("WECHO", "3") + request("E", "4"),
    );
    expect(text).to.equal(`${request("E", "1") + FAILED}+PONG\r\n${FAILED}${request("E", "4")}`);
    expect(hasEnded).to.equal(false);
  });

  it("after a failed commit the next turn's writes are answered again", async () => {
    const harness = await Harness.start();
    harness.gate.failure = ioError("no space left");
    const { text, client } = await harness.exchange(request("WECHO", "1"));
    expect(text).to.equal(FAILED);
    harness.gate.failure = null;
    client.send(request("WECHO", "2"));
    await harness.clock.settle();
    expect(client.take()).to.equal(request("WECHO", "2"));
  });

  it("a failed commit leaves late writes alone, which have waited for their own, and reaches those around them", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1") + request("WLATER", "2") + request("E", "3"));
    await harness.clock.settle();
    client.send(request("WLATER", "4"));
    await harness.clock.settle();
    const [first, second, fourth] = harness.dispatcher.held;
    second!.answer();
    fourth!.answer();
    await harness.clock.settle();
    harness.gate.failure = ioError("no space left");
    first!.answer();
    client.send(request("WECHO", "5") + request("E", "6"));
    await harness.clock.settle();
    const late = request("LATER", "1") + request("WLATER", "2") + request("E", "3") + request("WLATER", "4");
    expect(client.take()).to.equal(late + FAILED + request("E", "6"));
  });

  it("a failed commit reaches the writes of its turn that are held up by an answer to come, and no others", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1") + request("WECHO", "2"));
    await harness.clock.settle();
    harness.gate.failure = ioError("no space left");
    client.send(
      request("WECHO", "3") + request("E", "4") + request("WECHO", "5") + request("LATER", "6") + request("WECHO", "7"),
    );
    await harness.clock.settle();
    harness.gate.failure = null;
    client.send(request("WECHO", "8"));
    await harness.clock.settle();
    expect(client.take()).to.equal("");
    const [first, sixth] = harness.dispatcher.held;
    first!.answer();
    await harness.clock.settle();
    expect(client.take()).to.equal(request("LATER", "1") + request("WECHO", "2") + FAILED + request("E", "4") + FAILED);
    // This one is refused, too, and says nothing of those before it.
    harness.gate.failure = ioError("no space left");
    sixth!.answer();
    client.send(request("WECHO", "9"));
    await harness.clock.settle();
    expect(client.take()).to.equal(request("LATER", "6") + FAILED + request("WECHO", "8") + FAILED);
  });

  it("a rejected acknowledgement reaches late writes too", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const client = harness.client();
    client.send(request("WLATER", "1") + request("WECHO", "2") + request("E", "3"));
    await harness.clock.settle();
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    for (const { reject } of harness.gate.waiting) reject(ioError("no space left"));
    await harness.clock.settle();
    expect(client.take()).to.equal(FAILED + FAILED + request("E", "3"));
  });

  it("replies wait for the acknowledgement and leave in order while new ones queue behind", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const client = harness.client();
    client.send(request("WECHO", "1"));
    await harness.clock.settle();
    client.send(request("E", "2"));
    await harness.clock.settle();
    expect(client.take()).to.equal("");
    const [first, second] = harness.gate.waiting;
    second!.resolve();
    await harness.clock.settle();
    expect(client.take()).to.equal("");
    first!.resolve();
    await harness.clock.settle();
    expect(client.take()).to.equal(request("WECHO", "1") + request("E", "2"));
  });

  it("a rejected acknowledgement turns the writes it covers into errors", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const client = harness.client();
    client.send(request("E", "1") + request("WECHO", "2"));
    await harness.clock.settle();
    harness.gate.waiting[0]!.reject(ioError("no space left"));
    await harness.clock.settle();
    expect(client.take()).to.equal(request("E", "1") + FAILED);
  });

  it("replies that wait keep their own writes, whatever is written behind them", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const client = harness.client();
    client.send(request("E", "1"));
    await harness.clock.settle();
    client.send(request("WECHO", "2"));
    await harness.clock.settle();
    for (const { reject } of harness.gate.waiting) reject(ioError("no space left"));
    await harness.clock.settle();
    expect(client.take()).to.equal(request("E", "1") + FAILED);
  });

  it("a turn of writes without replies holds back nothing, and nothing that comes after it", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const [muted, other] = [harness.client(), harness.client()];
    muted.send(request("REPLY", "off") + request("WECHO", "1"));
    await harness.clock.settle();
    other.send(request("WECHO", "2"));
    await harness.clock.settle();
    for (const { resolve } of harness.gate.waiting) resolve();
    await harness.clock.settle();
    expect(other.take()).to.equal(request("WECHO", "2"));
    expect(muted.take()).to.equal("");
  });

  it("QUIT's reply and its close wait for the acknowledgement of what was before", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const client = harness.client();
    client.send(request("WECHO", "1") + request("QUIT"));
    await harness.clock.settle();
    expect(client.hasEnded).to.equal(false);
    harness.gate.waiting[0]!.resolve();
    await harness.clock.settle();
    expect(client.take()).to.equal(`${request("WECHO", "1")}+OK\r\n`);
    expect(client.hasEnded).to.equal(true);
  });

  it("a half-closed client gets the replies that wait for their acknowledgement", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const client = harness.client();
    client.send(request("WECHO", "1"));
    await harness.clock.settle();
    client.connection.end();
    await harness.clock.settle();
    expect(client.hasEnded).to.equal(false);
    harness.gate.waiting[0]!.resolve();
    await harness.clock.settle();
    expect(client.take()).to.equal(request("WECHO", "1"));
    expect(client.isClosed).to.equal(true);
  });

  it("a client that is gone before the acknowledgement harms nobody", async () => {
    const harness = await Harness.start();
    harness.gate.isAcknowledged = false;
    const gone = harness.client();
    const stays = harness.client();
    gone.send(request("WECHO", "1"));
    stays.send(request("WECHO", "1"));
    await harness.clock.settle();
    gone.connection.destroy();
    await harness.clock.settle();
    for (const { resolve } of harness.gate.waiting) resolve();
    await harness.clock.settle();
    expect(stays.take()).to.equal(request("WECHO", "1"));
    expect(harness.server.clients).to.equal(1);
  });
});
