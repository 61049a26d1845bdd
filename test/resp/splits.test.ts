/**
 * However a stream is cut, the requests and replies are the same. The network overwrites each chunk after its callback,
 * so anything that kept a borrowed byte shows.
 */
import { expect } from "chai";
import { Harness, request } from "./harness.js";
import { Lcg } from "./lcg.js";

const SAMPLES: Readonly<Record<string, string>> = {
  "a pipeline of arrays": request("SET", "k", "value") + request("GET", "k") + request("PING"),
  "inline requests": "PING\r\nE \"a\\x41 b\"\nE 'c'\r\n\r\nPING\n",
  "a mix with empty requests": `PING\r\n*0\r\n${request("E", "", "\r\n")}*-1\r\n\nE x\r\n${request("PING")}`,
  "a violation at the end": `${request("E", "12345")}*1\r\n$4\r\nPING\r\n*1\r\nfoo\r\n`,
  "a bad count at the end": `${request("PING")}*12x\r\n${request("PING")}`,
  "requests behind QUIT": `${request("PING")}${request("QUIT")}${request("E", "no")}`,
  "late answers between others":
    request("E", "1") + request("SOON", "2") + request("E", "3") + request("SOONALONE", "4") + request("E", "5"),
  "unusual line ends": "*2\rx$1\ryEzz$2\rwabcd*1\r\n$4\r\nPING\r\n",
};

/** What a server does with a stream that is cut after these numbers of bytes. */
async function run(stream: string, cuts: readonly number[]): Promise<{ text: string; hasEnded: boolean; ran: string[] }> {
  const harness = await Harness.start();
  const client = harness.client();
  let from = 0;
  for (const to of [...cuts, stream.length]) {
    client.send(Buffer.from(stream.slice(from, to), "latin1"));
    // Each part is its own chunk: it is delivered before the next is written.
    harness.clock.turn();
    harness.clock.turn();
    from = to;
  }
  await harness.clock.settle();
  return { text: client.take(), hasEnded: client.hasEnded || client.isClosed, ran: harness.dispatcher.ran };
}

describe("streams in parts", () => {
  for (const [name, stream] of Object.entries(SAMPLES)) {
    it(`${name}: cut at every byte, the outcome is that of the whole`, async () => {
      const whole = await run(stream, []);
      expect(whole.ran).to.not.be.empty;
      for (let cut = 1; cut < stream.length; cut++) expect(await run(stream, [cut]), `cut at ${cut}`).to.deep.equal(whole);
    });

    it(`${name}: byte by byte, the outcome is that of the whole`, async () => {
      const everywhere = Array.from({ length: stream.length - 1 }, (_, i) => i + 1);
      expect(await run(stream, everywhere)).to.deep.equal(await run(stream, []));
    });
  }

  it("cut at every pair of bytes, a short stream's outcome is that of the whole", async () => {
    const stream = `${request("E", "ab")}PING\r\n${request("PING")}`;
    const whole = await run(stream, []);
    for (let a = 1; a < stream.length; a++) {
      for (let b = a + 1; b < stream.length; b++) expect(await run(stream, [a, b]), `${a}, ${b}`).to.deep.equal(whole);
    }
  });

  it("large arguments in random parts arrive unharmed", async () => {
    const random = new Lcg(7);
    const harness = await Harness.start({ network: { cut: (length) => 1 + random.below(Math.min(length, 40_000)) } });
    const sizes = [100_000, 1, 65_536, 300_000, 0, 16_384];
    const words = sizes.map((size, i) => String.fromCharCode(97 + i).repeat(size));
    const stream = words.map((word) => request("E", word)).join("") + request("E", ...words);
    const { text } = await harness.exchange(stream);
    expect(text === stream).to.equal(true);
  });
});
