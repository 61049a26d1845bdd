/** Damaged and hostile streams: nothing throws, memory stays in proportion to what arrived, others are served. */
import { expect } from "chai";
import { RequestGate } from "../../lib/resp/request-gate.js";
import { Harness, request } from "./harness.js";
import { Lcg } from "./lcg.js";

const STREAMS = 2_000;

const VALID: readonly string[] = [
  request("SET", "key", "value") + request("E", "key"),
  `PING\r\nE "quoted \\x41" 'b'\r\n`,
  request("E", ...Array.from({ length: 20 }, (_, i) => "v".repeat(i))),
  request("SOON", "late") + request("SOONALONE", "alone") + request("WECHO", "w"),
  `*0\r\n*-1\r\n\r\n${request("PING")}`,
  request("REPLY", "off") + request("E", "1") + request("REPLY", "on"),
];

/** Bytes that mean something somewhere, so that damage is often nearly valid. */
const TELLING = '*$\r\n0123456789-+:"\\x\0\xff';

function damaged(random: Lcg): string {
  let stream = "";
  for (let parts = 1 + random.below(4); parts > 0; parts--) stream += random.pick(VALID);
  for (let edits = 1 + random.below(4); edits > 0; edits--) {
    const at = random.below(stream.length + 1);
    const removed = random.below(3);
    let inserted = "";
    for (let n = random.below(4); n > 0; n--) inserted += TELLING[random.below(TELLING.length)];
    stream = stream.slice(0, at) + inserted + stream.slice(at + removed);
    if (stream === "") stream = "*";
  }
  return stream;
}

describe("hostile input", () => {
  it(`${STREAMS} damaged streams, in random parts: no throw, small buffers, and a neighbour is served`, async () => {
    const random = new Lcg(20_261);
    const harness = await Harness.start({ network: { cut: (length) => 1 + random.below(length) } });
    const neighbour = harness.client();
    for (let i = 0; i < STREAMS; i++) {
      const stream = damaged(random);
      const client = harness.client();
      client.send(Buffer.from(stream, "latin1"));
      if (i % 2 === 0) client.connection.end();
      if (i % 50 === 49) {
        neighbour.send(request("E", String(i)));
        await harness.clock.settle();
        expect(neighbour.take()).to.equal(request("E", String(i)));
        for (const { control } of harness.dispatcher.sessions) expect(control.inputBytes).to.be.below(1_000);
        harness.network.dropAllBut(neighbour.connection);
        await harness.clock.settle();
        expect(harness.server.clients).to.equal(1);
      }
    }
    expect(harness.server.counters.protocolErrors).to.be.above(STREAMS / 10);
    expect(harness.dispatcher.ran.length).to.be.above(STREAMS);
  }).timeout(30_000);

  it("a damaged stream has the same outcome whole and byte by byte", async () => {
    const random = new Lcg(99);
    for (let i = 0; i < 300; i++) {
      const stream = damaged(random);
      const whole = await Harness.start();
      const parts = await Harness.start({ network: { cut: () => 1 } });
      const a = await whole.exchange(Buffer.from(stream, "latin1"));
      const b = await parts.exchange(Buffer.from(stream, "latin1"));
      expect(b.text, JSON.stringify(stream)).to.equal(a.text);
      expect(parts.dispatcher.ran, JSON.stringify(stream)).to.deep.equal(whole.dispatcher.ran);
      expect(b.hasEnded, JSON.stringify(stream)).to.equal(a.hasEnded);
    }
  }).timeout(30_000);

  it("a thousand clients with half a request each cost little and hinder nobody", async () => {
    const harness = await Harness.start();
    for (let i = 0; i < 1_000; i++) harness.client().send("*3\r\n$3\r\nSET\r\n$536870912\r\nx");
    const { text } = await harness.exchange(request("PING"));
    expect(text).to.equal("+PONG\r\n");
    expect(harness.server.clients).to.equal(1_001);
  });
});

describe("request gate", () => {
  const limits = { bulkBytesMax: 536_870_912, argumentsMax: 1_048_576, isAuthenticated: true };

  it("allocates for the bytes that arrived, not for those announced", () => {
    const gate = new RequestGate();
    gate.receive(Buffer.from("*1\r\n$536870912\r\nx"));
    expect(gate.next(limits, 10)).to.equal("more");
    gate.settle();
    expect(gate.capacityBytes).to.be.at.most(512);
    gate.receive(Buffer.alloc(10_000));
    gate.next(limits, 10);
    gate.settle();
    expect(gate.capacityBytes).to.be.at.most(2 * 10_017);
  });

  it("grows to a large last argument's exact size, in few steps, and gives the buffer up", () => {
    const gate = new RequestGate();
    const size = 20_000_000;
    const head = Buffer.from(`*2\r\n$1\r\nE\r\n$${size}\r\n`);
    const chunk = Buffer.alloc(65_536, "v");
    const capacities = new Set<number>();
    gate.receive(head);
    let sent = 0;
    while (gate.next(limits, 10) === "more") {
      gate.settle();
      const length = Math.min(chunk.length, size + 2 - sent);
      gate.receive(chunk.subarray(0, length));
      sent += length;
      capacities.add(gate.capacityBytes);
    }
    expect(sent).to.equal(size + 2);
    expect(gate.capacityBytes).to.equal(head.length + size + 2);
    expect(capacities.size).to.be.below(20);
    gate.consumeRun(1);
    gate.settle();
    expect(gate.capacityBytes).to.equal(0);
  });

  it("grows in few steps under many small arguments", () => {
    const gate = new RequestGate();
    const args = 200_000;
    gate.receive(Buffer.from(`*${args}\r\n`));
    const chunk = Buffer.from("$1\r\nx\r\n".repeat(1_000));
    const capacities = new Set<number>();
    for (let sent = 0; gate.next(limits, 10) === "more"; sent += 1_000) {
      expect(sent).to.be.below(args);
      gate.settle();
      gate.receive(chunk);
      capacities.add(gate.capacityBytes);
    }
    expect(gate.runBytes().length).to.equal(9 + args * 7);
    expect(capacities.size).to.be.below(20);
  });

  it("a run interrupted in its middle is found again from there", () => {
    const gate = new RequestGate();
    gate.receive(Buffer.from(request("A") + request("B") + request("C") + request("D").slice(0, 5)));
    expect(gate.next(limits, 10)).to.equal("run");
    expect(gate.runCount).to.equal(3);
    gate.consumeRun(1);
    gate.settle();
    expect(gate.next(limits, 1)).to.equal("run");
    expect(gate.runBytes().toString("latin1")).to.equal(request("B"));
    gate.consumeRun(1);
    gate.receive(Buffer.from(request("D").slice(5)));
    expect(gate.next(limits, 10)).to.equal("run");
    expect(gate.runBytes().toString("latin1")).to.equal(request("C") + request("D"));
  });
});
