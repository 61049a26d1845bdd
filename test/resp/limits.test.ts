/** Bounds on clients: how many, how idle, how much they may send unasked and leave unread. */
import { expect } from "chai";
import { Harness, request } from "./harness.js";

const KB = 1_024;

describe("limits of clients", () => {
  it("a connection over maxclients is told so and closed, and the limit may be raised", async () => {
    const harness = await Harness.start({ settings: { maxClients: 1 } });
    const first = harness.client();
    const refused = await harness.exchange(request("PING"));
    expect(refused.text).to.equal("-ERR max number of clients reached\r\n");
    expect(refused.hasEnded).to.equal(true);
    expect(harness.server.counters.connectionsRejected).to.equal(1);
    harness.settings.maxClients = 2;
    expect((await harness.exchange(request("PING"))).text).to.equal("+PONG\r\n");
    first.send(request("PING"));
    await harness.clock.settle();
    expect(first.take()).to.equal("+PONG\r\n");
  });

  it("a refused connection that does not close its side is closed after a second", async () => {
    const harness = await Harness.start({ refusal: () => "DENIED not from there" });
    const { text, client } = await harness.exchange("");
    expect(text).to.equal("-DENIED not from there\r\n");
    await harness.clock.advance(1_000);
    await harness.clock.settle();
    expect(client.isClosed).to.equal(true);
    expect(harness.network.openEnds).to.equal(0);
  });

  it("a client that goes on sending after it was refused is read on for so many bytes only, and for so long", async () => {
    for (const [chunks, isCutOff] of [
      [16, false],
      [80, true],
    ] as const) {
      const harness = await Harness.start();
      const { text, client } = await harness.exchange("*x\r\n");
      expect(text).to.match(/^-ERR Protocol error/);
      for (let sent = 0; sent < chunks && !client.isClosed; sent++) {
        client.send(Buffer.alloc(64 * KB, "a"));
        await harness.clock.settle();
      }
      expect(client.isClosed, `${chunks} chunks`).to.equal(isCutOff);
      await harness.clock.advance(3_000);
      expect(client.isClosed).to.equal(true);
    }
  });

  it("an idle client is closed silently after the timeout, a waiting one is not", async () => {
    const harness = await Harness.start({ settings: { timeoutSeconds: 10 } });
    const idle = harness.client();
    const waiting = harness.client();
    waiting.send(request("LATER", "1"));
    await harness.clock.settle();
    await harness.clock.advance(9_000);
    expect(idle.isClosed).to.equal(false);
    await harness.clock.advance(3_000);
    expect(idle.isClosed).to.equal(true);
    expect(idle.take()).to.equal("");
    expect(waiting.isClosed).to.equal(false);
    expect(harness.server.counters.idleCloses).to.equal(1);
  });

  it("a client that asks now and then is not idle", async () => {
    const harness = await Harness.start({ settings: { timeoutSeconds: 3 } });
    const client = harness.client();
    for (let i = 0; i < 10; i++) {
      client.send(request("PING"));
      await harness.clock.advance(2_000);
    }
    expect(client.isClosed).to.equal(false);
  });

  it("a client that does not close after our end is closed a moment later", async () => {
    const harness = await Harness.start();
    const { client } = await harness.exchange(request("QUIT"));
    expect(client.isClosed).to.equal(false);
    await harness.clock.advance(3_000);
    expect(client.isClosed).to.equal(true);
    expect(harness.server.clients).to.equal(0);
  });

  it("a client that sends without reading is paused at the limit and goes on when it reads", async () => {
    const settings = { outputPauseBytes: 100 * KB, outputSharedBytes: 100 * KB };
    const harness = await Harness.start({ settings });
    const client = harness.client();
    client.connection.pause();
    const requests = 2_000;
    client.send(request("BIG", "1000").repeat(requests));
    await harness.clock.settle();
    const ran = harness.dispatcher.ran.length;
    expect(ran).to.be.below(400);
    expect([...harness.dispatcher.sessions][0]!.control.outputBytes).to.be.below(300 * KB);
    client.connection.resume();
    await harness.clock.settle();
    expect(harness.dispatcher.ran.length).to.equal(requests);
    expect(client.take().length).to.equal(requests * 1_009);
    expect(harness.server.unsentBytes).to.equal(0);
  });

  it("a client may have more unsent as long as all together have little", async () => {
    const settings = { outputPauseBytes: 100 * KB, outputSharedBytes: 4_096 * KB };
    const harness = await Harness.start({ settings });
    const client = harness.client();
    client.connection.pause();
    client.send(request("BIG", "1000").repeat(2_000));
    await harness.clock.settle();
    expect(harness.dispatcher.ran.length).to.equal(2_000);
    client.connection.resume();
    await harness.clock.settle();
    expect(client.take().length).to.equal(2_000 * 1_009);
  });

  it("unsent replies over the hard limit close the connection", async () => {
    const harness = await Harness.start({ settings: { outputHardBytes: 200 * KB } });
    const client = harness.client();
    client.connection.pause();
    client.send(request("BIG", "300000"));
    await harness.clock.settle();
    expect(client.isClosed).to.equal(true);
    expect(harness.server.counters.outputLimitCloses).to.equal(1);
    expect(harness.server.unsentBytes).to.equal(0);
  });

  it("replies sent in one go count towards the hard limit even where the system would take them all", async () => {
    const harness = await Harness.start({ settings: { outputHardBytes: 2_000 } });
    const within = await harness.exchange(request("BIG", "1000"));
    expect(within.text.length).to.equal(1_009);
    const over = await harness.exchange(request("BIG", "1000").repeat(2));
    expect(over.text).to.equal("");
    expect(over.client.isClosed).to.equal(true);
    expect(harness.server.counters.outputLimitCloses).to.equal(1);
  });

  it("a client that has not shown a password is closed over 16 KB of unread replies, whatever the limit", async () => {
    const harness = await Harness.start({ settings: { outputHardBytes: 0 } });
    harness.dispatcher.startsAuthenticated = false;
    const client = harness.client();
    client.connection.pause();
    client.send(request("BIG", "9000"));
    await harness.clock.settle();
    expect(client.isClosed).to.equal(false);
    client.send(request("BIG", "9000").repeat(2));
    await harness.clock.settle();
    expect(client.isClosed).to.equal(true);
    expect(harness.server.counters.outputLimitCloses).to.equal(1);
  });

  it("messages pushed to a client that does not read count towards the hard limit", async () => {
    const harness = await Harness.start({ settings: { outputHardBytes: 200 * KB } });
    const client = harness.client();
    client.connection.pause();
    await harness.clock.settle();
    const { control } = [...harness.dispatcher.sessions][0]!;
    for (let i = 0; i < 400; i++) {
      control.push((reply) => reply.bulk("x".repeat(1_000)));
      await harness.clock.settle();
    }
    expect(client.isClosed).to.equal(true);
    expect(harness.server.clients).to.equal(0);
  });

  it("unsent replies over the soft limit close the connection after its seconds", async () => {
    const harness = await Harness.start({ settings: { outputSoftBytes: 50 * KB, outputSoftSeconds: 5 } });
    const client = harness.client();
    client.connection.pause();
    client.send(request("BIG", "200000"));
    await harness.clock.settle();
    await harness.clock.advance(4_000);
    expect(harness.server.clients).to.equal(1);
    await harness.clock.advance(3_000);
    expect(harness.server.clients).to.equal(0);
  });

  it("a client that takes nothing of its replies is closed after the deadline, one that takes some is not", async () => {
    const harness = await Harness.start({ settings: { outputStallSeconds: 5 } });
    const stuck = harness.client();
    const slow = harness.client();
    for (const client of [stuck, slow]) {
      client.connection.pause();
      client.send(request("BIG", "1000000"));
    }
    await harness.clock.settle();
    for (let second = 0; second < 10; second++) {
      await harness.clock.advance(1_000);
      slow.connection.resume();
      // One delivery, then it stops reading again.
      harness.clock.turn();
      slow.connection.pause();
      await harness.clock.settle();
    }
    expect(stuck.isClosed).to.equal(true);
    expect(slow.isClosed).to.equal(false);
    expect(harness.server.counters.outputLimitCloses).to.equal(1);
  });

  it("requests over the query buffer limit close the connection silently", async () => {
    const harness = await Harness.start({ settings: { queryBufferBytesMax: 100 * KB } });
    const client = harness.client();
    client.send(`*2\r\n$1\r\nE\r\n$500000\r\n${"x".repeat(200_000)}`);
    await harness.clock.settle();
    expect(client.isClosed).to.equal(true);
    expect(client.take()).to.equal("");
    expect(harness.server.counters.queryBufferLimitCloses).to.equal(1);
  });

  it("a client blocked behind a lone request is not read without end", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("ALONE", "1") + request("E", "x".repeat(1_000)).repeat(2_000));
    await harness.clock.settle();
    const { control } = [...harness.dispatcher.sessions][0]!;
    expect(control.inputBytes).to.be.within(65_536, 3 * 65_536);
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(harness.dispatcher.ran.length).to.equal(2_001);
    expect(control.inputBytes).to.equal(0);
  });

  it("a changed proto-max-bulk-len holds for the next request", async () => {
    const harness = await Harness.start();
    harness.settings.bulkBytesMax = 1_000;
    const { text } = await harness.exchange(`${request("E", "x".repeat(1_000))}*1\r\n$1001\r\n`);
    expect(text).to.equal(`${request("E", "x".repeat(1_000))}-ERR Protocol error: invalid bulk length\r\n`);
  });
});

describe("stop", () => {
  it("stops accepting, answers what is in flight, closes and resolves", async () => {
    const harness = await Harness.start();
    const busy = harness.client();
    const idle = harness.client();
    busy.send(request("LATER", "1"));
    await harness.clock.settle();
    let isStopped = false;
    const stopped = harness.server.stop(10_000).then(() => {
      isStopped = true;
    });
    await harness.clock.settle();
    expect(() => harness.client()).to.throw("nothing listens");
    expect(idle.hasEnded).to.equal(true);
    expect(isStopped).to.equal(false);
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(busy.take()).to.equal(request("LATER", "1"));
    busy.connection.end();
    idle.connection.end();
    await harness.clock.settle();
    await stopped;
    expect(harness.server.clients).to.equal(0);
  });

  it("cuts off what is not done by the deadline", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1"));
    await harness.clock.settle();
    const stopped = harness.server.stop(5_000);
    await harness.clock.settle();
    await harness.clock.advance(5_000);
    await stopped;
    await harness.clock.settle();
    expect(client.isClosed).to.equal(true);
    expect(client.take()).to.equal("");
  });
});
