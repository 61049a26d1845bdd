/** Node's network over TLS and beside TLS: who connects to whom, and what is said where they do not. */
import net from "node:net";
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { Connection, Network } from "../../lib/host/network.js";
import { NodeNetwork, type ReadMode } from "../../lib/host/node-network.js";
import { NodeTlsNetwork } from "../../lib/host/node-tls-network.js";
import { request } from "../resp/harness.js";
import { SimRandom } from "../sim/sim-random.js";
import type { Authority, Minted } from "./certificates.js";
import { authority, Client, credentialsOf, DEADLINE_MS, FrontEnd, HOST, own, stranger, until } from "./tls-front-end.js";

for (const mode of ["probe", "data-events"] satisfies ReadMode[]) {
  it(`a client with TLS on a port without is closed at once, and the reason told (${mode})`, async () => {
    const front = new FrontEnd();
    await front.listen(new NodeNetwork(mode, front.note));
    try {
      const client = front.connect();
      await until("the close", () => client.isClosed);
      const plain = front.keep(Client.plain(front.port));
      plain.send(request("PING"));
      await until("the answer", () => plain.received === "+PONG\r\n");
      // Only a connection's first bytes are looked at.
      plain.send(request("E", "\x16\x03\x01"));
      await until("the answer", () => plain.received === `+PONG\r\n${request("E", "\x16\x03\x01")}`);
      expect(client.received).to.equal("");
      expect(front.refusals).to.deep.equal([
        `${HOST}: it speaks TLS, and this node does not: set tls-cert and tls-key here, or use no TLS there`,
      ]);
      expect(front.server.clients).to.equal(1);
    } finally {
      await front.end();
    }
  });
}

it("a connection without TLS that is answered with an alert of TLS says so", async () => {
  const server = net.createServer((socket) => socket.end(Buffer.of(0x15, 3, 3, 0, 2, 2, 70)));
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as net.AddressInfo;
  const connection = await new NodeNetwork().connect({ host: HOST, port, timeoutMs: DEADLINE_MS });
  const chunks: Buffer[] = [];
  const error = await new Promise<Error | null>((resolve) => {
    const ignore = (): void => undefined;
    connection.start({ onData: (chunk) => void chunks.push(chunk), onEnd: ignore, onDrain: ignore, onClose: resolve });
  });
  server.close();
  expect(error?.message).to.match(/^it speaks TLS, and this node does not/);
  expect(chunks).to.deep.equal([]);
});

describe("Node's network over TLS", () => {
  const networkOf = (minted: Minted, trusted: Authority | null = authority, handshakeMsMax = DEADLINE_MS): NodeTlsNetwork =>
    new NodeTlsNetwork({
      credentials: credentialsOf(minted, trusted),
      asks: trusted === null ? "no" : "yes",
      versionMin: "TLSv1.3",
      handshakeMsMax,
    });

  /** Follows a connection; ends it when the other side does. */
  function follow(name: string, connection: Connection, events: string[]): Connection {
    connection.start({
      onData: (chunk) => void events.push(`${name} got ${chunk.toString("latin1")}`),
      onEnd: () => {
        events.push(`${name} end`);
        connection.end();
      },
      onDrain: () => undefined,
      onClose: (error) => void events.push(`${name} closed ${error?.message ?? "in order"}`),
    });
    return connection;
  }

  /** Connects two ends, and what happens at each. */
  async function pair(from: Network, to: Network, withinMs = DEADLINE_MS): Promise<[Connection, Connection, string[]]> {
    const events: string[] = [];
    const accepted: Connection[] = [];
    const onConnection = (connection: Connection): void => void accepted.push(follow("server", connection, events));
    const listener = await to.listen({ host: HOST, port: 0, onConnection });
    try {
      const client = await from.connect({ host: HOST, port: listener.port, timeoutMs: withinMs });
      follow("client", client, events);
      return [client, accepted[0]!, events];
    } finally {
      await listener.close();
    }
  }

  async function refusalOf(connecting: Promise<unknown>): Promise<OperatingError> {
    const error = await connecting.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof OperatingError)) throw new Error("the connection was made", { cause: error });
    return error;
  }

  it("connects two ends that exchange bytes and close in order", async () => {
    const [client, server, events] = await pair(networkOf(own), networkOf(authority.issue("other")));
    server.write("\xe9");
    client.write(Buffer.from("hello"));
    client.end();
    await until("both closes", () => events.filter((event) => event.includes("closed")).length === 2);
    const of = (name: string): string[] => events.filter((event) => event.startsWith(name));
    expect(of("client")).to.deep.equal(["client got \xe9", "client end", "client closed in order"]);
    expect(of("server")).to.deep.equal(["server got hello", "server end", "server closed in order"]);
    expect([server.remotePort, server.remoteAddress]).to.deep.equal([client.localPort, HOST]);
  });

  it("binds to each connection bytes that both its ends know and that no other has", async () => {
    const network = networkOf(own);
    const bindings: string[] = [];
    for (let round = 0; round < 2; round++) {
      const [client, server, events] = await pair(network, network);
      client.write("x");
      await until("a chunk", () => events.length > 0);
      expect(client.channelBinding).to.have.lengthOf(32);
      expect(client.channelBinding!.equals(server.channelBinding!)).to.equal(true);
      bindings.push(client.channelBinding!.toString("hex"));
      client.end();
      await until("both closes", () => events.filter((event) => event.includes("closed")).length === 2);
    }
    expect(bindings[0]).not.to.equal(bindings[1]);
    const [plain, other, events] = await pair(new NodeNetwork(), new NodeNetwork());
    expect([plain.channelBinding, other.channelBinding]).to.deep.equal([null, null]);
    plain.end();
    await until("both closes", () => events.filter((event) => event.includes("closed")).length === 2);
  });

  it("refuses to connect to a certificate of another authority, or an expired one, and says why", async () => {
    const cases: readonly [Minted, string][] = [
      [stranger.issue("node"), "its certificate is not signed by the authority in tls-ca"],
      [authority.issue("node", { validTo: new Date(Date.now() - 1_000) }), "its certificate has expired, or a clock is wrong"],
    ];
    for (const [minted, why] of cases) {
      const error = await refusalOf(pair(networkOf(own), networkOf(minted)));
      expect(error.code).to.equal("UNAVAILABLE");
      expect(error.message)
        .to.match(/^cannot connect to 127\.0\.0\.1:\d+ over TLS: /)
        .and.to.contain(why);
    }
  });

  it("without an authority takes any certificate", async () => {
    const [client, , events] = await pair(networkOf(own, null), networkOf(stranger.issue("node"), null));
    client.end();
    await until("both closes", () => events.filter((event) => event.includes("closed")).length === 2);
    expect(events).to.include("client closed in order");
  });

  it("says so when what it connects to has no TLS, says nothing, or is not there", async () => {
    const network = networkOf(own);
    // It answers as a server of another protocol does.
    const chatty = net.createServer((socket) => socket.on("error", () => undefined).end("-ERR what is this\r\n"));
    const silent = net.createServer((socket) => socket.on("error", () => undefined));
    const closing = net.createServer((socket) => socket.destroy());
    const messages: string[] = [];
    for (const server of [chatty, closing, silent]) {
      await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
      const { port } = server.address() as net.AddressInfo;
      const error = await refusalOf(network.connect({ host: HOST, port, timeoutMs: server === silent ? 100 : DEADLINE_MS }));
      messages.push(`${error.code} ${error.message.replace(String(port), "PORT")}`);
      server.close();
      if (server === closing) messages.push((await refusalOf(network.connect({ host: HOST, port, timeoutMs: 1_000 }))).message);
    }
    expect(messages[0]).to.equal(
      `UNAVAILABLE cannot connect to ${HOST}:PORT over TLS: it does not speak TLS, and this node does (tls-cert): use TLS on both sides, or on none`,
    );
    expect(messages[1]).to.equal(
      `UNAVAILABLE cannot connect to ${HOST}:PORT over TLS: it closed the connection during the TLS handshake: does it speak TLS?`,
    );
    expect(messages[2]).to.contain("ECONNREFUSED");
    expect(messages[3]).to.equal(`TIMEOUT no TLS connection to ${HOST}:PORT within 100 ms`);
  });

  it("a connection may be ended or destroyed before its handshake is over", async () => {
    const network = networkOf(own, null);
    for (const way of ["end", "destroy"] as const) {
      const events: string[] = [];
      const listener = await network.listen({
        host: HOST,
        port: 0,
        onConnection: (connection) => {
          connection.write("bye");
          expect(connection.pendingBytes).to.equal(3);
          follow("server", connection, events);
          connection[way]();
          connection.write("not sent");
        },
      });
      const client = Client.overTls(listener.port);
      client.socket.on("end", () => client.socket.end());
      await until("the close", () => client.isOver && events.some((event) => event.includes("closed")));
      await listener.close();
      expect(client.received).to.equal(way === "end" ? "bye" : "");
      expect(events.at(-1)).to.equal("server closed in order");
    }
  });

  it("what arrives while delivery is paused, even before the handshake, is kept until it is resumed", async () => {
    const network = networkOf(own, null);
    const events: string[] = [];
    const accepted: Connection[] = [];
    const listener = await network.listen({
      host: HOST,
      port: 0,
      onConnection: (connection) => {
        connection.pause();
        accepted.push(follow("server", connection, events));
      },
    });
    const client = Client.overTls(listener.port);
    client.socket.end("kept");
    await until("the handshake", () => client.isSecure && accepted[0]?.channelBinding !== null);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(events).to.deep.equal([]);
    accepted[0]!.resume();
    await until("the close", () => client.isClosed && events.length === 3);
    await listener.close();
    expect(events).to.deep.equal(["server got kept", "server end", "server closed in order"]);
  });
});

/** Passes bytes on, with one of those to `port` changed, or none of those behind it passed on. */
async function badRelay(port: number, fault: { at: number; kind: "flip" | "end" | "reset" }): Promise<net.Server> {
  const relay = net.createServer((from) => {
    const to = net.connect(port, HOST);
    let passed = 0;
    from.on("data", (chunk: Buffer) => {
      const at = fault.at - passed;
      passed += chunk.length;
      const isHit = at >= 0 && at < chunk.length;
      if (isHit && fault.kind === "flip") chunk[at]! ^= 0x55;
      to.write(isHit && fault.kind !== "flip" ? chunk.subarray(0, at) : chunk);
      if (isHit && fault.kind === "end") to.end();
      if (isHit && fault.kind === "reset") to.resetAndDestroy();
    });
    to.on("data", (chunk) => from.write(chunk));
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on("error", () => undefined);
      one.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => relay.listen(0, HOST, resolve));
  return relay;
}

describe("handshakes of TLS", () => {
  it("that are damaged, cut or dropped by their owner at any moment end their connection only, which is told once", async () => {
    const random = new SimRandom(7);
    const network = new NodeTlsNetwork({
      credentials: credentialsOf(own),
      asks: "yes",
      versionMin: "TLSv1.2",
      handshakeMsMax: 50,
    });
    let [opened, closed] = [0, 0];
    const listener = await network.listen({
      host: HOST,
      port: 0,
      onConnection: (connection) => {
        opened++;
        connection.start({
          onData: (chunk) => connection.write(Buffer.from(chunk)),
          onEnd: () => connection.end(),
          onDrain: () => undefined,
          onClose: () => void closed++,
        });
        const way = random.below(6);
        if (way === 0) connection.destroy();
        if (way === 1) setTimeout(() => connection.destroy(), random.below(6));
        if (way === 2) connection.end();
      },
    });
    const shown = authority.issue("client");
    const attempt = async (): Promise<void> => {
      const kind = (["flip", "end", "reset"] as const)[random.below(3)]!;
      const relay = await badRelay(listener.port, { at: random.below(2_500), kind });
      const { port } = relay.address() as net.AddressInfo;
      const version = random.below(2) === 0 ? "TLSv1.2" : "TLSv1.3";
      const client = Client.overTls(port, { maxVersion: version, minVersion: version, ...(random.below(3) > 0 && shown) });
      client.send("x".repeat(2_000));
      // A damaged length makes the other end wait for what never comes: then it is the client that gives up.
      const startMs = performance.now();
      const isOver = (): boolean => client.isOver || client.received.length >= 2_000 || performance.now() - startMs > 200;
      await until("an outcome", isOver);
      client.socket.destroy();
      relay.close();
    };
    for (let round = 0; round < 15; round++) await Promise.all(Array.from({ length: 10 }, attempt));
    await until("every close", () => closed === opened);
    // Who resets at once is gone before it is accepted.
    expect(opened).to.be.within(100, 150);
    const client = Client.overTls(listener.port, shown);
    client.send("still here");
    // Its owner may drop this one too.
    await until("an outcome", () => client.isOver || client.received === "still here");
    client.socket.destroy();
    await listener.close();
  }).timeout(30_000);
});
