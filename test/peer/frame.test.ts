/** Frames, the tables under a link, and its estimates: no network. */
import { expect } from "chai";
import fc from "fast-check";
import { CallTable } from "../../lib/peer/call-table.js";
import { ClockOffset } from "../../lib/peer/clock-offset.js";
import { FrameReader, type FrameSink } from "../../lib/peer/frame.js";
import {
  commonVersion,
  decodeHello,
  encodeHello,
  type Hello,
  isProof,
  proofOf,
  type Transcript,
} from "../../lib/peer/hello.js";
import { Latency } from "../../lib/peer/latency.js";
import { Outcome } from "./world.js";

class Sink implements FrameSink {
  readonly payloadBytesMax = 100;
  isHalted = false;
  isHaltedAfterEach = false;
  damage: string | null = null;
  readonly seen: string[] = [];

  onFrame(type: number, bytes: Buffer, start: number, end: number): void {
    this.seen.push(`${type}:${bytes.toString("latin1", start, end)}`);
    if (this.isHaltedAfterEach) this.isHalted = true;
  }

  onOversize(type: number, callId: number, lengthBytes: number): boolean {
    this.seen.push(`${type}:long ${callId} ${lengthBytes}`);
    return type === 17;
  }

  onDamage(what: string): void {
    this.damage = what;
    this.isHalted = true;
  }
}

function frame(type: number, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length + 1);
  head[4] = type;
  return Buffer.concat([head, bytes]);
}

const LONG = Buffer.concat([Buffer.from([0, 0, 0, 7]), Buffer.alloc(400, 0x78)]);
const STREAM = Buffer.concat([frame(17, "one"), frame(18, ""), frame(17, LONG), frame(20, "after")]);
const SEEN = ["17:one", "18:", "17:long 7 405", "20:after"];

/** A chunk that is overwritten after it was lent. */
function lend(reader: FrameReader, bytes: Buffer): void {
  const chunk = Buffer.from(bytes);
  reader.receive(chunk);
  chunk.fill(0xee);
}

describe("peer frames", () => {
  it("are found wherever the stream is split in two, and byte by byte", () => {
    for (let at = 0; at <= STREAM.length; at++) {
      const sink = new Sink();
      const reader = new FrameReader(sink);
      lend(reader, STREAM.subarray(0, at));
      lend(reader, STREAM.subarray(at));
      expect(sink.seen).to.deep.equal(SEEN);
      expect(reader.heldBytes).to.equal(0);
    }
    const sink = new Sink();
    const reader = new FrameReader(sink);
    for (const byte of STREAM) lend(reader, Buffer.of(byte));
    expect(sink.seen).to.deep.equal(SEEN);
  });

  it("wait while the sink is halted, and come in order when it goes on", () => {
    const sink = new Sink();
    const reader = new FrameReader(sink);
    sink.isHaltedAfterEach = true;
    lend(reader, STREAM);
    for (let round = 0; round < 10; round++) {
      sink.isHalted = false;
      reader.resume();
    }
    expect(sink.seen).to.deep.equal(SEEN);
  });

  it("are refused when empty, of impossible length, or too long for their type", () => {
    for (const bytes of [Buffer.alloc(4), Buffer.alloc(20, 0xff), frame(20, LONG)]) {
      const sink = new Sink();
      lend(new FrameReader(sink), Buffer.concat([bytes, STREAM]));
      expect(sink.damage).to.be.a("string");
    }
  });

  it("hold no more memory than what arrived, whatever length is announced", () => {
    const sink = new Sink();
    const reader = new FrameReader(sink);
    lend(reader, Buffer.from([0, 0, 0, 101, 17, 1, 2, 3]));
    expect(reader.heldBytes).to.equal(8);
  });
});

describe("call table", () => {
  it("gives each call back once, never one that took over the slot of another", () => {
    const table = new CallTable(100);
    const call = (name: string): Outcome => new Outcome(name, 1, Buffer.alloc(0), 0);
    const first = call("first");
    const id = table.add(first, 10, 1);
    expect(table.take(id)).to.equal(first);
    expect(table.takenSentMs).to.equal(1);
    const next = table.add(call("next"), 10, 1);
    expect(next).to.not.equal(id);
    expect(table.take(id)).to.equal(null);
    expect(table.take(next)?.to).to.equal("next");
    for (const stray of [0, 1, 99, 4_294_967_295]) expect(table.take(stray)).to.equal(null);
    for (let count = 0; count < 100; count++) expect(table.add(call("more"), count, 1)).to.be.above(0);
    expect(table.add(call("full"), 1, 1)).to.equal(0);
    const expired: Outcome[] = [];
    table.drainExpired(49, expired as never[]);
    expect(expired.length).to.equal(50);
    expect(table.earliestMs()).to.equal(50);
    expect(table.count).to.equal(50);
  });
});

describe("clock offset", () => {
  it("is the smallest difference, and does not follow what lay in a buffer for any time", () => {
    const offset = new ClockOffset();
    for (let ms = 0; ms < 10_000; ms += 100) offset.sample(1_000 + ms + 1 + (ms % 300) / 30, ms);
    expect(offset.toLocalMs(0)).to.be.within(1_001, 1_001.1);
    // Stopped for an hour, with batches from its beginning unread.
    for (let ms = 10_000; ms < 12_000; ms += 100) offset.sample(3_600_000, ms);
    expect(offset.toLocalMs(0)).to.be.within(1_001, 1_002.2);
  });

  it("follows a clock that drifts by 100 parts per million, either way", () => {
    for (const drift of [100e-6, -100e-6]) {
      const offset = new ClockOffset();
      let localMs = 0;
      for (let ms = 0; ms < 3_600_000; ms += 1_000) offset.sample((localMs = ms * (1 + drift) + 2), ms);
      expect(offset.toLocalMs(3_600_000) - localMs).to.be.within(995, 1_005);
    }
  });
});

describe("peer latency", () => {
  it("is a mean and a deviation, with a bound that answers rarely exceed", () => {
    const latency = new Latency();
    expect(latency.usualMsMax).to.equal(-1);
    for (let count = 0; count < 200; count++) latency.sample(count % 2 === 0 ? 1 : 3);
    expect(latency.meanMs).to.be.within(1.7, 2.3);
    expect(latency.usualMsMax).to.be.within(5, 7);
  });
});

describe("peer hello", () => {
  const hello: Hello = {
    versionMin: 1,
    versionMax: 3,
    hasSecret: true,
    nonce: Buffer.alloc(32, 1),
    instance: Buffer.alloc(8, 2),
    peerId: "00112233445566ff",
    clusterId: "c1",
    settings: Buffer.from("settings"),
  };

  it("has these bytes", () => {
    const golden = `4b4e445001030101${"01".repeat(31)}${"02".repeat(8)}1030303131323233333434353536366666026331000873657474696e6773`;
    expect(encodeHello(hello).toString("hex")).to.equal(golden);
  });

  it("is read as it was written, later versions' additions passed over", () => {
    const body = Buffer.concat([encodeHello(hello), Buffer.from("later")]);
    const read = decodeHello(body)!;
    expect({ ...read, nonce: "", instance: "", settings: "" }).to.deep.equal({
      ...hello,
      nonce: "",
      instance: "",
      settings: "",
    });
    expect(Buffer.from(read.settings).toString()).to.equal("settings");
  });

  it("is refused, without an exception, when cut anywhere or random", () => {
    const body = encodeHello(hello);
    for (let end = 0; end < body.length; end++) expect(decodeHello(body.subarray(0, end))).to.equal(null);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodeHello(bytes);
        decodeHello(Buffer.concat([body.subarray(0, 47), bytes]));
      }),
    );
  });

  it("agrees on the lower of the two highest versions, or on none", () => {
    const speaks = (versionMin: number, versionMax: number): Hello => ({ ...hello, versionMin, versionMax });
    expect(commonVersion(speaks(1, 3), speaks(2, 5))).to.equal(3);
    expect(commonVersion(speaks(4, 5), speaks(1, 3))).to.equal(null);
  });

  it("is proven only with the secret, by the role that says so, for the same two hellos", () => {
    const [first, second] = [encodeHello(hello), encodeHello({ ...hello, peerId: "other" })];
    const transcript: Transcript = { hello: first, welcome: second, channelBinding: null };
    const proof = proofOf("secret", "dialler", transcript);
    expect(isProof(proof, "secret", "dialler", transcript)).to.equal(true);
    expect(isProof(proof, "secret", "acceptor", transcript)).to.equal(false);
    expect(isProof(proof, "other", "dialler", transcript)).to.equal(false);
    expect(isProof(proof, "secret", "dialler", { ...transcript, hello: second, welcome: first })).to.equal(false);
    expect(isProof(proof.subarray(1), "secret", "dialler", transcript)).to.equal(false);
  });

  it("is proven over the encrypted connection it was given on, and over no other", () => {
    const hellos = { hello: encodeHello(hello), welcome: encodeHello({ ...hello, peerId: "other" }) };
    const bound = { ...hellos, channelBinding: Buffer.alloc(32, 1) };
    const proof = proofOf("secret", "dialler", bound);
    expect(isProof(proof, "secret", "dialler", bound)).to.equal(true);
    expect(isProof(proof, "secret", "acceptor", bound)).to.equal(false);
    expect(isProof(proof, "secret", "dialler", { ...hellos, channelBinding: Buffer.alloc(32, 2) })).to.equal(false);
    expect(isProof(proof, "secret", "dialler", { ...hellos, channelBinding: null })).to.equal(false);
    const unbound = proofOf("secret", "dialler", { ...hellos, channelBinding: null });
    expect(isProof(unbound, "secret", "dialler", bound)).to.equal(false);
  });
});
