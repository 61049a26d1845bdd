/**
 * Cluster clients, unchanged, against the commands of five members on real sockets. Each member has a keyspace of its own,
 * so that it shows which of them a client went to.
 */
import { expect } from "chai";
import { Cluster as IoCluster } from "ioredis";
import { createCluster } from "redis";
import { slotOf } from "../../lib/bytes/slot.js";
import type { MemberStatus } from "../../lib/cluster/failure-detector.js";
import type { MemberReport } from "../../lib/cluster/gossip.js";
import { Ring } from "../../lib/cluster/ring.js";
import type { ClientSession } from "../../lib/commands/client-session.js";
import { NodeClock } from "../../lib/host/node-clock.js";
import { NodeNetwork } from "../../lib/host/node-network.js";
import { silentLog } from "../../lib/log.js";
import { RingView } from "../../lib/node/ring-view.js";
import { RespServer } from "../../lib/resp/server.js";
import { defaultRespSettings } from "../../lib/resp/settings.js";
import { documentOf, memberOf, numbered, ringOf } from "../cluster/members.js";
import { until } from "../e2e/until.js";
import { TestCommitGate } from "../resp/harness.js";
import { DEFAULTS, FakeNode } from "./fake-node.js";

const HOST = "127.0.0.1";
const MEMBERS = ringOf(
  numbered(5, (number) => memberOf(number, { rack: `r${1 + (number % 2)}` })),
  { seed: 11 },
);
const KEYS = Array.from({ length: 200 }, (_, at) => `key:${at}`);

class Members {
  readonly ring = new Ring(documentOf(MEMBERS));
  readonly status = new Map<string, MemberStatus>();
  readonly ports: number[] = [];
  readonly nodes: FakeNode[] = [];
  readonly #servers: RespServer<ClientSession>[] = [];

  async start(): Promise<void> {
    for (const { id } of MEMBERS) {
      const clock = new NodeClock();
      const view = new RingView({
        selfId: id,
        clock,
        ring: () => this.ring,
        reports: () => this.#reports(),
        intakes: () => [],
        awaited: () => [],
        isLinked: () => true,
        load: () => ({ requestsPerSecond: 12, storedBytes: 34, waitingHints: 56, busyPermille: 7, diskFreeBytes: 8 }),
        ask: async () => ({ answer: "absent" }),
      });
      const node = new FakeNode({ cluster: view });
      const server = new RespServer<ClientSession>({
        network: new NodeNetwork(),
        clock,
        log: silentLog,
        dispatcher: node.built.commands,
        commitGate: new TestCommitGate(),
        settings: defaultRespSettings(),
      });
      this.nodes.push(node);
      this.#servers.push(server);
      this.ports.push(await server.listen({ host: HOST, port: 0 }));
    }
  }

  /** The member fails, and all others know. */
  async fail(at: number): Promise<void> {
    this.status.set(MEMBERS[at]!.id, "down");
    await this.#servers[at]!.stop(0);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.stop(0)));
  }

  /** Whom a client should ask for a key: the first of its list that is up. */
  firstUp(key: string): number {
    const list = [...this.ring.current.replicas(slotOf(Buffer.from(key)))];
    return list.find((index) => this.status.get(MEMBERS[index]!.id) !== "down")!;
  }

  /** Which members hold a key. */
  holders(key: string): number[] {
    const scope = { database: 0, consistency: DEFAULTS, hold: null };
    return this.nodes.flatMap(({ keyspace }, at) => (keyspace.peek(scope, Buffer.from(key)) === null ? [] : at));
  }

  #reports(): MemberReport[] {
    return MEMBERS.map(({ id, name, storeId }, at) => ({
      member: {
        id,
        generation: 1,
        before: 0,
        heartbeat: 1,
        changed: 1,
        movedAtMs: 0,
        firstSeenMs: 0,
        contents: {
          name,
          peerAddress: { host: HOST, port: this.ports[at]! },
          clientAddress: { host: HOST, port: this.ports[at]! },
          load: { requestsPerSecond: 0, storedBytes: 0, waitingHints: 0, busyPermille: null, diskFreeBytes: null },
          storeId,
          sequenceLease: 0,
          suspects: [],
          softwareVersion: "1.0.0",
          protocolVersion: 1,
          state: "up",
          ringVersion: 1,
          unknown: [],
        },
      },
      status: this.status.get(id) ?? "up",
      sinceMs: 0,
    }));
  }
}

interface Connected {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | null>;
  close(): void;
}

async function ioredis(port: number): Promise<Connected> {
  const client = new IoCluster([{ host: HOST, port }], { clusterRetryStrategy: () => 20, slotsRefreshTimeout: 5_000 });
  client.on("error", () => undefined);
  return { set: (key, value) => client.set(key, value), get: (key) => client.get(key), close: () => client.disconnect() };
}

async function nodeRedis(port: number, protocol: 2 | 3): Promise<Connected> {
  const client = createCluster({ rootNodes: [{ url: `redis://${HOST}:${port}` }], RESP: protocol });
  client.on("error", () => undefined);
  await client.connect();
  return { set: (key, value) => client.set(key, value), get: (key) => client.get(key), close: () => client.destroy() };
}

describe("cluster clients", function () {
  this.timeout(30_000);
  let members: Members;
  beforeEach(async () => {
    members = new Members();
    await members.start();
  });
  afterEach(() => members.stop());

  for (const { name, connect } of [
    { name: "ioredis", connect: ioredis },
    { name: "node-redis in RESP2", connect: (port: number) => nodeRedis(port, 2) },
    { name: "node-redis in RESP3", connect: (port: number) => nodeRedis(port, 3) },
  ]) {
    it(`${name} goes to the first replica of each key, whichever member it asked for the slots`, async () => {
      const client = await connect(members.ports[3]!);
      try {
        for (const key of KEYS) expect(await client.set(key, `of ${key}`)).to.equal("OK");
        for (const key of KEYS) {
          expect(members.holders(key), key).to.deep.equal([members.firstUp(key)]);
          expect(await client.get(key)).to.equal(`of ${key}`);
        }
        expect(new Set(KEYS.map((key) => members.firstUp(key))).size).to.equal(5);
      } finally {
        client.close();
      }
    });
  }

  it("ioredis, whose member fails, asks another for the slots and goes to the next replica", async () => {
    const client = await ioredis(members.ports[0]!);
    try {
      const [key] = KEYS;
      await client.set(key!, "before");
      const first = members.firstUp(key!);
      await members.fail(first);
      const next = members.firstUp(key!);
      expect(next).not.to.equal(first);
      // Any member takes a write; which one is best it knows when it has asked for the slots again.
      await until({ what: "it goes to the next replica", withinMs: 20_000 }, async () => {
        expect(await client.set(key!, "after")).to.equal("OK");
        return members.holders(key!).includes(next) ? true : null;
      });
    } finally {
      client.close();
    }
  });
});
