/** Real sockets over TLS: the front end behind it, who is let in, and what is said of who is not. */
import net from "node:net";
import tls from "node:tls";
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { Connection, Network } from "../../lib/host/network.js";
import { NodeClock } from "../../lib/host/node-clock.js";
import { NodeNetwork, type ReadMode } from "../../lib/host/node-network.js";
import { checkCredentials, type TlsCredentials } from "../../lib/host/node-tls-credentials.js";
import { NodeTlsNetwork, type NodeTlsOptions } from "../../lib/host/node-tls-network.js";
import { silentLog } from "../../lib/log.js";
import { RespServer } from "../../lib/resp/server.js";
import type { Session } from "../../lib/resp/session.js";
import { defaultRespSettings } from "../../lib/resp/settings.js";
import { request, TestCommitGate, TestDispatcher } from "../resp/harness.js";
import { Authority, type Minted } from "./certificates.js";

const DEADLINE_MS = 5_000;
const HOST = "127.0.0.1";
const DAY_MS = 86_400_000;

const authority = new Authority("authority of the tests");
const stranger = new Authority("another authority");
const own = authority.issue("node");

function credentialsOf(minted: Minted, trusted: Authority | null = authority): TlsCredentials {
  return checkCredentials({
    cert: { path: "cert.pem", pem: minted.cert },
    key: { path: "key.pem", pem: minted.key },
    ca: trusted === null ? null : { path: "ca.pem", pem: trusted.cert },
  });
}

/** Waits for a condition, looking after each turn of the loop. */
async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A client's socket that collects what it receives. */
class Client {
  received = "";
  isSecure = false;
  isClosed = false;
  hasEnded = false;
  error = "";
  session: Buffer | null = null;
  readonly socket: net.Socket;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.received += chunk.toString("latin1");
    });
    socket.on("end", () => {
      this.hasEnded = true;
    });
    socket.on("error", (error) => {
      this.error = error.message;
    });
    socket.on("close", () => {
      this.isClosed = true;
    });
    socket.on("secureConnect", () => {
      this.isSecure = true;
    });
    socket.on("session", (session: Buffer) => {
      this.session = session;
    });
  }

  static overTls(port: number, options: tls.ConnectionOptions = {}): Client {
    const all = { host: HOST, port, ca: authority.cert, allowHalfOpen: true, ...options };
    return new Client(tls.connect(all));
  }

  static plain(port: number): Client {
    return new Client(net.connect({ host: HOST, port, allowHalfOpen: true }));
  }

  /** The other side sends no more. */
  get isOver(): boolean {
    return this.hasEnded || this.isClosed;
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }
}

/** A front end on some network, and its clients. */
class World {
  readonly dispatcher = new TestDispatcher();
  readonly settings = defaultRespSettings();
  readonly clients: Client[] = [];
  readonly refusals: string[] = [];
  readonly note = (remoteAddress: string, why: string): void => {
    this.refusals.push(`${remoteAddress}: ${why}`);
  };
  server!: RespServer<Session>;
  port = 0;

  async listen(network: Network): Promise<void> {
    const { dispatcher, settings } = this;
    const commitGate = new TestCommitGate();
    this.server = new RespServer({ network, clock: new NodeClock(), log: silentLog, dispatcher, commitGate, settings });
    this.port = await this.server.listen({ host: HOST, port: 0 });
  }

  async overTls(options: Partial<NodeTlsOptions> = {}): Promise<void> {
    const standard = { credentials: credentialsOf(own), asks: "no", versionMin: "TLSv1.2", onRefused: this.note } as const;
    await this.listen(new NodeTlsNetwork({ ...standard, ...options }));
  }

  connect(options: tls.ConnectionOptions = {}): Client {
    return this.keep(Client.overTls(this.port, options));
  }

  keep(client: Client): Client {
    this.clients.push(client);
    return client;
  }

  async end(): Promise<void> {
    for (const { socket } of this.clients) socket.destroy();
    await this.server.stop(DEADLINE_MS);
  }
}

describe("the front end over TLS", () => {
  let world: World;

  beforeEach(() => {
    world = new World();
  });

  afterEach(() => world.end());

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    describe(version, () => {
      const connect = (): Client => world.connect({ minVersion: version, maxVersion: version });

      beforeEach(() => world.overTls());

      it("answers a deep pipeline in order, and large values unharmed", async () => {
        const [deep, large] = [connect(), connect()];
        const stream = Array.from({ length: 20_000 }, (_, i) => request("E", `value ${i}`)).join("");
        const word = "0123456789abcdef".repeat(250_000);
        deep.send(stream);
        large.send(request("E", word));
        await until("all answers", () => deep.received.length >= stream.length && large.received.length >= word.length + 20);
        expect(deep.received === stream).to.equal(true);
        expect(large.received === request("E", word)).to.equal(true);
      });

      it("answers after the client's end of a half-closed connection, then closes", async () => {
        const client = connect();
        client.socket.end(request("LATER", "1") + request("PING"));
        await until("the request", () => world.dispatcher.held.length === 1);
        world.dispatcher.held[0]!.answer();
        await until("the close", () => client.isClosed);
        expect(client.received).to.equal(`${request("LATER", "1")}+PONG\r\n`);
        await until("the session's end", () => world.dispatcher.sessions.size === 0);
        expect(client.error).to.equal("");
      });

      it("QUIT closes after its answer, and still takes what the client sends until it closes too", async () => {
        const client = connect();
        client.send(request("PING") + request("QUIT") + request("PING"));
        await until("the end", () => client.hasEnded);
        expect(client.received).to.equal("+PONG\r\n+OK\r\n");
        client.socket.end(request("PING"));
        await until("the session's end", () => world.dispatcher.sessions.size === 0);
        expect([client.error, world.dispatcher.ran.length]).to.deep.equal(["", 2]);
      });
    });
  }

  it("a client that does not read is paused, then served when it reads", async () => {
    world.settings.outputSharedBytes = 1_048_576;
    await world.overTls();
    const client = world.connect();
    await until("the handshake", () => client.isSecure);
    client.socket.pause();
    const requests = 4_000;
    client.send(request("BIG", "10000").repeat(requests));
    await until("the pause", () => world.server.unsentBytes > 1_048_576);
    expect(world.dispatcher.ran.length).to.be.below(requests);
    expect(world.server.unsentBytes).to.be.below(16 * 1_048_576);
    client.socket.resume();
    await until("all answers", () => client.received.length === requests * 10_010);
  }).timeout(20_000);

  it("replies that have left do not count as unsent while the connection is idle", async () => {
    await world.overTls();
    const client = world.connect();
    client.send(request("BIG", "1000"));
    await until("the answer", () => client.received.length === 1_009);
    await until("nothing unsent", () => world.server.unsentBytes === 0);
    const large = 1_000_000;
    client.send(request("BIG", String(large)));
    await until("the answer", () => client.received.length > large);
    await until("nothing unsent", () => world.server.unsentBytes === 0);
  });

  it("an abrupt reset ends the session and nothing else", async () => {
    await world.overTls();
    const raw = net.connect({ host: HOST, port: world.port });
    const [client, other] = [world.connect({ socket: raw }), world.connect()];
    client.send(request("LATER", "1"));
    await until("the request", () => world.dispatcher.held.length === 1);
    raw.resetAndDestroy();
    await until("the session's end", () => world.dispatcher.sessions.size === 1);
    world.dispatcher.held[0]!.answer();
    other.send(request("PING"));
    await until("the other's answer", () => other.received === "+PONG\r\n");
  });

  it("stop closes the port, waits for what is in flight, and for no handshake", async () => {
    await world.overTls();
    const client = world.connect();
    const silent = world.keep(Client.plain(world.port));
    client.send(request("LATER", "1"));
    await until("the request", () => world.dispatcher.held.length === 1 && world.server.clients === 2);
    const stopped = world.server.stop(500);
    client.socket.on("end", () => client.socket.end());
    world.dispatcher.held[0]!.answer();
    await stopped;
    await until("both ends", () => client.hasEnded && silent.isOver);
    expect(client.received).to.equal(request("LATER", "1"));
  });

  it("a connection counts against maxclients from before its handshake", async () => {
    world.settings.maxClients = 2;
    await world.overTls();
    const silent = [world.keep(Client.plain(world.port)), world.keep(Client.plain(world.port))];
    await until("both are counted", () => world.server.clients === 2);
    const third = world.connect();
    await until("the refusal", () => third.hasEnded);
    expect(third.received).to.equal("-ERR max number of clients reached\r\n");
    silent[0]!.socket.destroy();
    await until("a free place", () => world.server.clients === 1);
    const fourth = world.connect();
    fourth.send(request("PING"));
    await until("the answer", () => fourth.received === "+PONG\r\n");
  });

  it("a handshake that is not completed in time is closed and told of, however slowly it goes on", async () => {
    await world.overTls({ handshakeMsMax: 100 });
    const [silent, slow] = [world.keep(Client.plain(world.port)), world.keep(Client.plain(world.port))];
    // The head of a record that announces a handshake of 512 bytes, which then comes a byte at a time.
    slow.socket.write(Buffer.of(0x16, 3, 1, 2, 0));
    const drip = setInterval(() => slow.socket.write(Buffer.of(1)), 20);
    try {
      await until("both are closed", () => silent.isOver && slow.isOver);
    } finally {
      clearInterval(drip);
    }
    await until("both sessions' ends", () => world.server.clients === 0);
    const text = `${HOST}: it completed no TLS handshake within 100 ms`;
    expect(world.refusals).to.deep.equal([text, text]);
  });

  it("who leaves before the handshake is over is forgotten without a word", async () => {
    await world.overTls();
    for (const isAbrupt of [false, true]) {
      const client = world.keep(Client.plain(world.port));
      await until("the connection", () => world.server.clients === 1);
      if (isAbrupt) client.socket.resetAndDestroy();
      else client.socket.end();
      await until("the session's end", () => world.server.clients === 0);
    }
    expect(world.dispatcher.ran).to.deep.equal([]);
  });

  it("a client without TLS is refused, and the reason told", async () => {
    await world.overTls();
    for (const words of [
      request("PING"),
      "PING\r\n",
      "GET / HTTP/1.1\r\nHost: here\r\n\r\n",
      "\x00\x00\x00\x5bKNDP and so on",
    ]) {
      world.refusals.length = 0;
      const client = world.keep(Client.plain(world.port));
      client.send(words);
      await until(`the close after ${words}`, () => client.isOver);
      await until("the session's end", () => world.server.clients === 0);
      expect(world.refusals).to.deep.equal([
        `${HOST}: it does not speak TLS, and this node does (tls-cert): use TLS on both sides, or on none`,
      ]);
    }
    expect(world.dispatcher.ran).to.deep.equal([]);
  });

  it("a client that does not trust the certificate leaves, and others are served", async () => {
    await world.overTls();
    const client = world.connect({ ca: stranger.cert, maxVersion: "TLSv1.2" });
    await until("the close", () => client.isClosed);
    expect(client.error).to.match(/self-signed certificate|unable to verify/);
    await until("the session's end", () => world.server.clients === 0);
    expect(world.dispatcher.ran).to.deep.equal([]);
  });

  it("versions of TLS below 1.2 are refused, and the reason told", async () => {
    await world.overTls();
    const client = world.connect({ minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" });
    await until("the close", () => client.isClosed);
    expect(world.refusals).to.deep.equal([`${HOST}: it speaks no version of TLS that this node accepts`]);
  });

  const late = { validFrom: new Date(Date.now() - 2 * DAY_MS), validTo: new Date(Date.now() - DAY_MS) };
  const early = { validFrom: new Date(Date.now() + DAY_MS), validTo: new Date(Date.now() + 2 * DAY_MS) };
  const shown: readonly { title: string; minted: Minted | null; why: string }[] = [
    { title: "no certificate", minted: null, why: "it presented no certificate, and one signed by the authority in tls-ca" },
    {
      title: "a certificate of another authority",
      minted: stranger.issue("client"),
      why: "its certificate is not signed by the authority in tls-ca",
    },
    { title: "an expired certificate", minted: authority.issue("client", late), why: "its certificate has expired" },
    {
      title: "a certificate of the future",
      minted: authority.issue("client", early),
      why: "its certificate is not valid yet",
    },
    {
      title: "a certificate for servers only",
      minted: authority.issue("client", { usages: ["serverAuth"] }),
      why: "its certificate is not for this use",
    },
  ];
  for (const { title, minted, why } of shown) {
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      it(`refuses ${title} where one is asked for, before any request runs (${version})`, async () => {
        await world.overTls({ asks: "yes" });
        const client = world.connect({ maxVersion: version, minVersion: version, ...minted });
        client.send(request("PING"));
        await until("the close", () => client.isOver);
        await until("the session's end", () => world.server.clients === 0);
        expect([client.received, world.dispatcher.ran.length, world.refusals.length]).to.deep.equal(["", 0, 1]);
        expect(world.refusals[0]).to.contain(`${HOST}: ${why}`);
      });
    }

    it(`${minted === null ? "serves" : "refuses"} ${title} where one is optional`, async () => {
      await world.overTls({ asks: "optional" });
      const client = world.connect({ ...minted });
      client.send(request("PING"));
      await until("an outcome", () => client.isOver || client.received !== "");
      expect(client.received).to.equal(minted === null ? "+PONG\r\n" : "");
      expect(world.refusals.length).to.equal(minted === null ? 0 : 1);
    });

    it(`does not look at ${title} where none is asked for`, async () => {
      await world.overTls();
      const client = world.connect({ ...minted });
      client.send(request("PING"));
      await until("the answer", () => client.received === "+PONG\r\n");
    });
  }

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    it(`serves a good certificate, also on a resumed session (${version})`, async () => {
      await world.overTls({ asks: "yes" });
      const options = { ...authority.issue("client", { usages: ["clientAuth"] }), maxVersion: version, minVersion: version };
      const first = world.connect(options);
      first.send(request("PING"));
      await until("the answer", () => first.received === "+PONG\r\n" && first.session !== null);
      const second = world.connect({ ...options, session: first.session! });
      second.send(request("PING"));
      await until("the answer", () => second.received === "+PONG\r\n");
      expect((second.socket as tls.TLSSocket).isSessionReused()).to.equal(true);
      expect(world.refusals).to.deep.equal([]);
    });

    it(`a client that is refused for want of a certificate is given no session to resume (${version})`, async () => {
      await world.overTls({ asks: "yes" });
      const client = world.connect({ maxVersion: version, minVersion: version });
      await until("the close", () => client.isOver && world.server.clients === 0);
      expect(client.session).to.equal(null);
      expect(world.refusals.length).to.equal(1);
    });
  }
});

for (const mode of ["probe", "data-events"] satisfies ReadMode[]) {
  it(`a client with TLS on a port without is closed at once, and the reason told (${mode})`, async () => {
    const world = new World();
    await world.listen(new NodeNetwork(mode, world.note));
    try {
      const client = world.connect();
      await until("the close", () => client.isClosed);
      const plain = world.keep(Client.plain(world.port));
      plain.send(request("PING"));
      await until("the answer", () => plain.received === "+PONG\r\n");
      // Only a connection's first bytes are looked at.
      plain.send(request("E", "\x16\x03\x01"));
      await until("the answer", () => plain.received === `+PONG\r\n${request("E", "\x16\x03\x01")}`);
      expect(client.received).to.equal("");
      expect(world.refusals).to.deep.equal([
        `${HOST}: it speaks TLS, and this node does not: set tls-cert and tls-key here, or use no TLS there`,
      ]);
      expect(world.server.clients).to.equal(1);
    } finally {
      await world.end();
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
