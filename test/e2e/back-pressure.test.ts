/** Writers that outrun the disk are slowed down by it; none of them is refused. */
import { expect } from "chai";
import { serversOfTest } from "./server-process.js";
import { encodeRequest, type WireReply } from "./wire-client.js";

const CLIENTS = 50;
const REQUESTS = 4;
const KEYS = 100;
const VALUE_BYTES = 8_000;
/** The load is forty memory tables, and one request a fifth of one. */
const SMALL_TABLES = { "memory-table-bytes": "4mb", "table-bytes": "1mb", "level-bytes-base": "4mb" };

describe("a bulk load", function () {
  this.timeout(90_000);
  const servers = serversOfTest();

  it(`of ${CLIENTS} clients that pipeline large MSETs is slowed down and never refused`, async () => {
    const server = await servers.start({ settings: SMALL_TABLES });
    const clients = await Promise.all(Array.from({ length: CLIENTS }, () => server.connect()));
    const replies: Promise<WireReply>[] = [];
    for (const [at, client] of clients.entries()) {
      for (let request = 0; request < REQUESTS; request++) replies.push(client.sendRequest(largeMset(at, request)));
    }
    const counts = new Map<string, number>();
    for (const reply of await Promise.all(replies)) {
      const text = String(reply);
      counts.set(text, (counts.get(text) ?? 0) + 1);
    }
    expect([...counts]).to.deep.equal([["OK", CLIENTS * REQUESTS]]);
    const info = await clients[0]!.info();
    expect(Number(info.get("stalls")), "times that the engine was out of room").to.be.above(0);
    expect(await clients[0]!.call("DBSIZE")).to.equal(CLIENTS * REQUESTS * KEYS);
    for (const client of clients) await client.close();
  });
});

function largeMset(client: number, request: number): Buffer {
  const pairs = Array.from({ length: KEYS }, (_, at) => [`${client}:${request}:${at}`, textFor(client + request + at)]);
  return encodeRequest(["MSET", ...pairs.flat()]);
}

/** Of letters that do not repeat, so that it does not compress to nothing. */
function textFor(seed: number): string {
  const bytes = Buffer.alloc(VALUE_BYTES);
  let state = seed + 1;
  for (let at = 0; at < VALUE_BYTES; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = 33 + ((state >>> 24) % 90);
  }
  return bytes.toString("latin1");
}
