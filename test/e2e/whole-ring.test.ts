/** Commands about all keys, over three real processes, while clients write and one of the processes is killed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ClusterProcess } from "./cluster-process.js";
import { freePorts } from "./ports.js";
import { until } from "./until.js";
import { WireClient } from "./wire-client.js";

const KEYS = 20_000;
/** Requests of one client that wait for their replies. */
const PIPELINE = 500;

describe("a ring of three processes", function () {
  this.timeout(120_000);
  let directory = "";
  let cluster: ClusterProcess | null = null;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "kindred-ring-"));
  });

  afterEach(async function () {
    if (this.currentTest?.isFailed()) process.stdout.write(cluster?.output.slice(-5_000) ?? "");
    await cluster?.end();
    cluster = null;
    rmSync(directory, { recursive: true, force: true });
  });

  async function started(): Promise<{ port: number; processIds: readonly number[] }> {
    const port = await freePorts(3);
    cluster = new ClusterProcess(["--dir", directory, "--nodes", "3", "--port", `${port}`], {});
    await cluster.ready();
    return { port, processIds: cluster.processIds };
  }

  async function sendAll(client: WireClient, requests: readonly (readonly string[])[]): Promise<void> {
    for (let at = 0; at < requests.length; at += PIPELINE) {
      await Promise.all(requests.slice(at, at + PIPELINE).map((args) => client.call(...args)));
    }
  }

  /** A write is acknowledged by two of three copies: the third may count it a little later. */
  async function sizeIs(client: WireClient, size: number): Promise<void> {
    await until({ what: `DBSIZE answers ${size}`, withinMs: 10_000 }, async () =>
      (await client.call("DBSIZE")) === size ? true : null,
    );
  }

  /** A whole scan, each page of the next client; `between` runs after each page. */
  async function scan(clients: readonly WireClient[], count: number, between: (page: number) => void): Promise<Set<string>> {
    const found = new Set<string>();
    let cursor = "0";
    let page = 0;
    do {
      const client = clients[page % clients.length]!;
      const [next, keys] = (await client.call("SCAN", cursor, "COUNT", `${count}`)) as [string, string[]];
      for (const key of keys) found.add(key);
      cursor = next;
      between(page++);
    } while (cursor !== "0");
    return found;
  }

  it("lists every key that stays while others come and go and one process is killed, and is emptied by a flush", async () => {
    const { port, processIds } = await started();
    const clients = await Promise.all([0, 1, 2].map((node) => WireClient.connect(port + node)));
    const keys = Array.from({ length: KEYS }, (_, at) => `key:${at}`);
    await Promise.all(
      clients.map((client, node) =>
        sendAll(
          client,
          keys.filter((_, at) => at % 3 === node).map((key) => ["SET", key, `value of ${key}`]),
        ),
      ),
    );
    for (const client of clients) await sizeIs(client, KEYS);
    const survivors = clients.slice(0, 2);
    let writer: Promise<void> | null = null;
    const disturb = (page: number): void => {
      if (page === 20) process.kill(processIds[2]!, "SIGKILL");
      writer ??= (async (): Promise<void> => {
        for (let round = 0; round < 20; round++) {
          await sendAll(
            clients[0]!,
            Array.from({ length: 200 }, (_, at) =>
              at % 2 === 0
                ? ["SET", keys[(round * 977 + at * 31) % KEYS]!, `round ${round}`]
                : ["SET", `new:${round}:${at}`, "x"],
            ),
          );
        }
      })();
    };
    const found = await scan(survivors, 200, disturb);
    await writer;
    expect(keys.filter((key) => !found.has(key))).to.deep.equal([]);
    await sizeIs(clients[1]!, KEYS + 20 * 100);
    expect(((await clients[1]!.call("KEYS", "key:1999?")) as string[]).sort()).to.deep.equal(keys.slice(19_990).sort());
    expect(await clients[1]!.call("FLUSHALL")).to.equal("OK");
    for (const client of survivors) {
      expect(await client.call("DBSIZE")).to.equal(0);
      expect(await client.call("KEYS", "*")).to.deep.equal([]);
      expect(await client.call("RANDOMKEY")).to.equal(null);
      expect(await client.call("GET", "key:7")).to.equal(null);
    }
    await clients[0]!.call("SET", "key:7", "new");
    expect(await clients[1]!.call("KEYS", "*")).to.deep.equal(["key:7"]);
    for (const client of clients) await client.close();
  });
});
