/** Replies in the order of requests, whatever mix of immediate, late and lone answers, against a model. */
import { expect } from "chai";
import { AssertionError } from "../../lib/assert.js";
import { OperatingError } from "../../lib/errors.js";
import { Harness, request } from "./harness.js";
import { Lcg } from "./lcg.js";

type Kind = "E" | "LATER" | "ALONE";

/** What must hold of a connection that was sent `kinds`, when the requests in `answered` are answered. */
function model(kinds: readonly Kind[], answered: ReadonlySet<number>): { started: number[]; replied: number } {
  const started: number[] = [];
  const isDone = (i: number): boolean => answered.has(i) || kinds[i] === "E";
  for (let i = 0; i < kinds.length; i++) {
    const areEarlierDone = kinds.slice(0, i).every((_, j) => isDone(j));
    if (kinds[i] === "ALONE" && !areEarlierDone) break;
    if (kinds.slice(0, i).some((kind, j) => kind === "ALONE" && !isDone(j))) break;
    started.push(i);
  }
  let replied = 0;
  while (replied < kinds.length && started.includes(replied) && isDone(replied)) replied++;
  return { started, replied };
}

describe("order of replies", () => {
  for (let seed = 1; seed <= 60; seed++) {
    it(`random mixes answered in random order reply in order (seed ${seed})`, async () => {
      const random = new Lcg(seed);
      const kinds = Array.from({ length: 2 + random.below(14) }, () =>
        random.pick<Kind>(["E", "E", "LATER", "LATER", "ALONE"]),
      );
      const harness = await Harness.start({ network: { cut: (length) => 1 + random.below(length) } });
      const client = harness.client();
      const stream = kinds.map((kind, i) => request(kind, String(i)));
      client.send(stream.join(""));
      await harness.clock.settle();
      const answered = new Set<number>();
      for (;;) {
        const expected = model(kinds, answered);
        const held = harness.dispatcher.held.filter(({ words }) => !answered.has(Number(words[1])));
        expect(client.received).to.equal(stream.slice(0, expected.replied).join(""));
        expect(held.map(({ words }) => Number(words[1]))).to.deep.equal(
          expected.started.filter((i) => kinds[i] !== "E" && !answered.has(i)),
        );
        if (held.length === 0) break;
        const next = random.pick(held);
        answered.add(Number(next.words[1]));
        next.answer();
        await harness.clock.settle();
      }
      expect(client.received).to.equal(stream.join(""));
    });
  }

  it("late work has its own copy of the arguments", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "the first"));
    await harness.clock.settle();
    client.send(request("E", "overwrites"));
    await harness.clock.settle();
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(client.take()).to.equal(request("LATER", "the first") + request("E", "overwrites"));
  });

  it("late work that fails answers the error in its place, without what it had begun", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1") + request("LATER", "2") + request("LATER", "3") + request("PING"));
    await harness.clock.settle();
    const [first, second, third] = harness.dispatcher.held;
    third!.fail(new OperatingError("ARGUMENT", "no such thing"));
    second!.fail(new OperatingError("BUSY", "too much queued"));
    first!.fail(new OperatingError("IO", "disk\r\nfailed"));
    await harness.clock.settle();
    expect(client.take()).to.equal("-IOERR disk  failed\r\n-BUSY too much queued\r\n-ERR no such thing\r\n+PONG\r\n");
  });

  it("late work that fails with a bug ends the process rather than answering", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1"));
    await harness.clock.settle();
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    const escaped = new Promise<unknown>((resolve) => process.once("uncaughtException", resolve));
    harness.dispatcher.held[0]!.fail(new AssertionError("broken"));
    const error = await escaped;
    for (const listener of listeners) process.on("uncaughtException", listener);
    expect(error).to.be.instanceOf(AssertionError);
    expect(client.take()).to.equal("");
  });

  it("with too many unanswered requests no more are run until half are answered", async () => {
    const harness = await Harness.start({ settings: { unansweredMax: 8 } });
    const client = harness.client();
    client.send(Array.from({ length: 30 }, (_, i) => request("LATER", String(i))).join(""));
    await harness.clock.settle();
    const { held } = harness.dispatcher;
    expect(held.length).to.equal(8);
    for (const { answer } of held.slice(0, 3)) answer();
    await harness.clock.settle();
    expect(held.length).to.equal(8);
    held[3]!.answer();
    await harness.clock.settle();
    expect(held.length).to.equal(12);
    for (let i = 4; i < held.length; i++) {
      held[i]!.answer();
      await harness.clock.settle();
    }
    expect(client.take()).to.equal(Array.from({ length: 30 }, (_, i) => request("LATER", String(i))).join(""));
  });

  it("immediate answers behind a late one are bounded too", async () => {
    const harness = await Harness.start({ settings: { outputPauseBytes: 10_000 } });
    const client = harness.client();
    client.send(request("LATER", "1") + request("BIG", "1000").repeat(50));
    await harness.clock.settle();
    expect(harness.dispatcher.ran.length).to.be.within(10, 12);
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(harness.dispatcher.ran.length).to.equal(51);
    expect(client.take().length).to.equal(request("LATER", "1").length + 50 * (7 + 1_000 + 2));
  });

  it("QUIT waits for earlier late answers", async () => {
    const harness = await Harness.start();
    const client = harness.client();
    client.send(request("LATER", "1") + request("QUIT") + request("PING"));
    await harness.clock.settle();
    expect(client.hasEnded).to.equal(false);
    harness.dispatcher.held[0]!.answer();
    await harness.clock.settle();
    expect(client.take()).to.equal(`${request("LATER", "1")}+OK\r\n`);
    expect(client.hasEnded).to.equal(true);
  });

  it("a deep pipeline of lone requests runs each once, in order", async () => {
    const harness = await Harness.start();
    const requests = 3_000;
    const client = harness.client();
    const stream = Array.from({ length: requests }, (_, i) => request("SOONALONE", String(i))).join("");
    client.send(stream);
    await harness.clock.settle();
    expect(client.take()).to.equal(stream);
    expect(harness.server.counters.requests).to.equal(requests);
  });

  it("an endless pipeline leaves the other clients their turn", async () => {
    const harness = await Harness.start({ network: { windowBytes: 4_194_304 } });
    const greedy = harness.client();
    const modest = harness.client();
    greedy.send(request("E", "greedy").repeat(20_000));
    modest.send(request("E", "modest"));
    await harness.clock.settle();
    expect(harness.dispatcher.ran.indexOf("E modest")).to.be.below(2_000);
    expect(greedy.take().length).to.equal(request("E", "greedy").length * 20_000);
  });
});
