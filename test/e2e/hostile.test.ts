/** What comes over the wire is not to be trusted: damaged and hostile streams against a real server, while another client works. */
import { expect } from "chai";
import { Lcg } from "../resp/lcg.js";
import { type ServerProcess, serversOfTest } from "./server-process.js";
import { until, within } from "./until.js";
import { encodeRequest, type WireClient } from "./wire-client.js";

const MB = 1_048_576;
const MUTATIONS = Number(process.env.E2E_MUTATIONS ?? 3_000);
const SEED = Number(process.env.E2E_SEED ?? 20_261_123);
/** Mutations sent at once, each on a connection of its own. */
const AT_ONCE = 50;
/** How much the process may grow under attack: garbage that is not collected yet, and nothing that stays. */
const GROWTH_BYTES_MAX = 150 * MB;
const NEIGHBOUR_MS_MAX = 2_000;

describe("a server under bad input", function () {
  this.timeout(60_000);
  const servers = serversOfTest();

  it(`${MUTATIONS} damaged request streams (seed ${SEED}): it lives, stays small and serves others`, async () => {
    const server = await servers.start({ settings: { "enable-debug-command": "no" } });
    const guard = await Guard.start(server);
    const random = new Lcg(SEED);
    for (let done = 0; done < MUTATIONS; done += AT_ONCE) {
      const streams = Array.from({ length: AT_ONCE }, () => mutation(random));
      await Promise.all(streams.map((stream, at) => exchange(server, stream, at % 2 === 0 ? "end" : "drop")));
    }
    await guard.finish();
  });

  const announced: readonly { readonly title: string; readonly bytes: string; readonly answer: RegExp }[] = [
    {
      title: "more arguments than there are numbers",
      bytes: "*5000000000\r\n",
      answer: /Protocol error: invalid multibulk length/,
    },
    {
      title: "an argument of more than is allowed",
      bytes: "*1\r\n$5000000000\r\n",
      answer: /Protocol error: invalid bulk length/,
    },
    { title: "an argument of negative length", bytes: "*1\r\n$-5\r\n", answer: /Protocol error: invalid bulk length/ },
    { title: "a length that is no number", bytes: "*1\r\n$abc\r\n", answer: /Protocol error: invalid bulk length/ },
    {
      title: "an argument that does not begin with its length",
      bytes: "*1\r\nPING\r\n",
      answer: /Protocol error: expected '\$'/,
    },
    { title: "unbalanced quotes", bytes: 'SET a "b\r\n', answer: /Protocol error: unbalanced quotes/ },
  ];
  for (const { title, bytes, answer } of announced) {
    it(`${title}: says what is wrong with it and closes`, async () => {
      const server = await servers.start();
      const client = await server.connect();
      await client.sendRaw(bytes);
      await within({ what: "the server closes", withinMs: 5_000 }, client.closed);
      expect(
        client.unasked
          .map(String)
          .join("\n")
          .replace(/^Error: /, ""),
      ).to.match(answer);
      const other = await server.connect();
      expect(await other.call("PING")).to.equal("PONG");
      await other.close();
    });
  }

  it("a browser's request is not answered, and none of its lines is run", async () => {
    const server = await servers.start();
    const client = await server.connect();
    await client.sendRaw("POST / HTTP/1.1\r\nHost: here\r\n\r\nSET from browser\r\n");
    await within({ what: "the server closes", withinMs: 5_000 }, client.closed);
    const other = await server.connect();
    expect(await other.call("EXISTS", "from")).to.equal(0);
    await other.close();
  });

  it("an inline request without an end is refused early, whatever is sent", async () => {
    const server = await servers.start();
    const guard = await Guard.start(server);
    const client = await server.connect();
    const chunk = Buffer.alloc(64 * 1_024, "a");
    let sent = 0;
    while (!client.isClosed && sent < 256 * MB) {
      if (!(await client.sendRaw(chunk))) break;
      sent += chunk.length;
    }
    expect(sent).to.be.below(16 * MB);
    await guard.finish();
  });

  it("1,000 connections with half a request each cost little, hinder nobody, and are closed at the stop", async () => {
    const server = await servers.start();
    const guard = await Guard.start(server);
    const halves = [
      "*3\r\n$3\r\nSET\r\n$536870912\r\nx",
      "*1048576\r\n$1\r\nx\r\n",
      "SET half an inline request",
      "*2\r\n$3\r\nGE",
      "*100000\r\n$3\r\nDEL\r\n$3\r\nabc",
    ];
    const clients: WireClient[] = [];
    for (let from = 0; from < 1_000; from += 100) {
      clients.push(...(await Promise.all(Array.from({ length: 100 }, () => server.connect()))));
    }
    await Promise.all(clients.map((client, at) => client.sendRaw(halves[at % halves.length]!)));
    const watcher = await server.connect();
    expect(Number((await watcher.info("clients")).get("connected_clients"))).to.be.at.least(1_000);
    await guard.finish();
    expect(clients.some((client) => client.isClosed)).to.equal(false);
    expect(await server.terminate()).to.deep.equal({ code: 0, signal: null });
    await within({ what: "all connections are closed", withinMs: 5_000 }, Promise.all(clients.map((client) => client.closed)));
  });

  it("a huge request in many small arguments is served or refused, not fatal", async () => {
    const server = await servers.start();
    const guard = await Guard.start(server);
    const client = await server.connect();
    const reply = client.sendRequest(encodeRequest(["EXISTS", ...new Array<string>(500_000).fill("k")]));
    expect(await within({ what: "an answer", withinMs: 30_000 }, reply)).to.equal(0);
    await client.close();
    await guard.finish({ growthBytes: 400 * MB });
  });

  it("a client that asks and never reads does not make the server grow", async () => {
    const server = await servers.start({ settings: { "client-output-buffer-limit": "normal 8mb 0 0" } });
    const guard = await Guard.start(server);
    const greedy = await server.connect();
    await greedy.call("SET", "big", "x".repeat(10_000));
    greedy.pause();
    const requests = Buffer.concat(Array.from({ length: 1_000 }, () => encodeRequest(["GET", "big"])));
    let isTaken = true;
    void greedy.closed.then(() => {
      isTaken = false;
    });
    // 100,000 replies of 10 KB: a gigabyte, were it buffered. The server stops reading, or closes.
    const sending = (async () => {
      for (let sent = 0; sent < 100 && isTaken; sent++) if (!(await greedy.sendRaw(requests))) return;
    })();
    const watcher = await server.connect();
    await until({ what: "the server has answered what it will", withinMs: 20_000 }, async () => {
      const before = (await watcher.info("stats")).get("total_net_output_bytes");
      for (let at = 0; at < 20; at++) await watcher.call("PING");
      return Number((await watcher.info("stats")).get("total_net_output_bytes")) - Number(before) < 20_000 ? true : null;
    });
    await guard.finish();
    await greedy.close();
    await sending;
    await watcher.close();
  });

  it("an unknown command's error does not echo a megabyte", async () => {
    const server = await servers.start();
    const client = await server.connect();
    const text = await client.refusal("x".repeat(MB), "y".repeat(MB));
    expect(text).to.match(/^ERR unknown command/);
    expect(text.length).to.be.below(1_000);
    expect(await client.call("PING")).to.equal("PONG");
    await client.close();
  });
});

const VALID: readonly Buffer[] = [
  ["SET", "key", "value", "EX", "100"],
  ["GET", "key"],
  ["MSET", "a", "1", "b", "2", "c", "3"],
  ["INCRBY", "n", "9223372036854775807"],
  ["SCAN", "0", "MATCH", "*", "COUNT", "10"],
  ["MULTI"],
  ["EXEC"],
  ["WATCH", "a"],
  ["CONSISTENCY", "ONE", "SET", "key", "value"],
  ["SIBLINGS", "key"],
  ["SET", "key", "value", "CONTEXT", "AAAA"],
  ["HELLO", "3"],
  ["CLIENT", "REPLY", "SKIP"],
  ["CLIENT", "LIST"],
  ["SETRANGE", "key", "536870911", "x"],
  ["GETRANGE", "key", "-9223372036854775808", "9223372036854775807"],
  ["COMMAND", "DOCS"],
  ["LCS", "a", "b", "IDX"],
  ["COPY", "a", "b", "DB", "15"],
  ["SELECT", "3"],
  ["OBJECT", "FREQ", "a"],
  ["INFO", "everything"],
  ["CONFIG", "GET", "*"],
  ["SLOWLOG", "GET", "-1"],
  ["RESET"],
].map(encodeRequest);
const INLINE: readonly Buffer[] = ["PING\r\n", 'SET k "quoted \\x41 value"\r\n', "GET k\n", "\r\n", "*0\r\n", "*-1\r\n"].map(
  (text) => Buffer.from(text, "latin1"),
);
/** Bytes that mean something somewhere, so that damage is often nearly valid. */
const TELLING = Buffer.from('*$\r\n0123456789-+:"\\x\0\xff', "latin1");

/** A few valid requests with a few bytes removed, inserted, changed or repeated. */
function mutation(random: Lcg): Buffer {
  let stream: Buffer = Buffer.concat(
    Array.from({ length: 1 + random.below(6) }, () => random.pick(random.below(4) === 0 ? INLINE : VALID)),
  );
  for (let edits = 1 + random.below(5); edits > 0; edits--) {
    const at = random.below(stream.length + 1);
    const [head, tail] = [stream.subarray(0, at), stream.subarray(at)];
    const inserted = Buffer.from(Array.from({ length: 1 + random.below(4) }, () => TELLING[random.below(TELLING.length)]!));
    switch (random.below(4)) {
      case 0:
        stream = Buffer.concat([head, tail.subarray(1 + random.below(3))]);
        break;
      case 1:
        stream = Buffer.concat([head, inserted, tail]);
        break;
      case 2:
        stream = Buffer.concat([head, inserted, tail.subarray(inserted.length)]);
        break;
      default:
        stream = Buffer.concat([head, tail.subarray(0, random.below(30)), tail]);
    }
  }
  return stream;
}

/** Sends a stream, asks for the end, and waits for the server's; or goes away at once. */
async function exchange(server: ServerProcess, stream: Buffer, manner: "end" | "drop"): Promise<void> {
  const client = await server.connect();
  await client.sendRaw(stream);
  if (manner === "drop") return client.close();
  client.end();
  await within(
    { what: `the server closes after ${JSON.stringify(stream.toString("latin1"))}`, withinMs: 10_000 },
    client.closed,
  );
}

/** A neighbour that works while others attack, and the figures of the server from before. */
class Guard {
  readonly #server: ServerProcess;
  readonly #client: WireClient;
  readonly #residentBytes: number;
  readonly #pid: number;
  #isDone = false;
  #slowestMs = 0;
  #served = 0;
  readonly #work: Promise<void>;

  private constructor(server: ServerProcess, client: WireClient) {
    this.#server = server;
    this.#client = client;
    this.#pid = server.pid;
    this.#residentBytes = server.residentBytes() ?? 0;
    this.#work = this.#run();
  }

  static async start(server: ServerProcess): Promise<Guard> {
    return new Guard(server, await server.connect());
  }

  /** Ends the neighbour's work and checks that the server is as well as before. */
  async finish({ growthBytes = GROWTH_BYTES_MAX }: { readonly growthBytes?: number } = {}): Promise<void> {
    this.#isDone = true;
    await this.#work;
    await this.#client.close();
    expect(this.#server.isRunning, this.#server.output.slice(-2_000)).to.equal(true);
    expect(this.#server.pid).to.equal(this.#pid);
    expect(this.#served, "requests of the neighbour").to.be.above(0);
    expect(this.#slowestMs, "the neighbour's slowest answer, ms").to.be.below(NEIGHBOUR_MS_MAX);
    const residentBytes = this.#server.residentBytes();
    if (residentBytes !== null) expect(residentBytes - this.#residentBytes, "growth, bytes").to.be.below(growthBytes);
    const errors = this.#server.log.filter(({ level }) => Number(level) >= 50);
    expect(errors, "errors in the server's log").to.deep.equal([]);
  }

  async #run(): Promise<void> {
    for (let turn = 0; !this.#isDone; turn++) {
      const startedMs = performance.now();
      expect(await this.#client.call("SET", "neighbour", `${turn}`)).to.equal("OK");
      expect(await this.#client.call("GET", "neighbour")).to.equal(`${turn}`);
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startedMs);
      this.#served++;
    }
  }
}
