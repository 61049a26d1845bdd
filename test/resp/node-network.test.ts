/** The front end on real sockets, read through the shared buffer and through `data` events alike. */
import net from "node:net";
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { Connection } from "../../lib/host/network.js";
import { NodeClock } from "../../lib/host/node-clock.js";
import { NodeNetwork, type ReadMode } from "../../lib/host/node-network.js";
import { probeSharedReads } from "../../lib/host/node-shared-reads.js";
import { silentLog } from "../../lib/log.js";
import { RespServer } from "../../lib/resp/server.js";
import type { Session } from "../../lib/resp/session.js";
import { defaultRespSettings } from "../../lib/resp/settings.js";
import { request, TestCommitGate, TestDispatcher } from "./harness.js";

const DEADLINE_MS = 5_000;
const HOST = "127.0.0.1";

/** A plain client socket that collects what it receives. */
class Client {
  received = "";
  isClosed = false;
  hasEnded = false;
  readonly socket: net.Socket;

  constructor(port: number) {
    this.socket = net.connect({ host: HOST, port, allowHalfOpen: true });
    this.socket.on("data", (chunk) => {
      this.received += chunk.toString("latin1");
    });
    this.socket.on("end", () => {
      this.hasEnded = true;
    });
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.isClosed = true;
    });
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }
}

/** Waits for a condition, looking after each turn of the loop. */
async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

for (const mode of ["probe", "data-events"] satisfies ReadMode[]) {
  describe(`front end on real sockets (${mode})`, () => {
    let dispatcher: TestDispatcher;
    let server: RespServer<Session>;
    let port: number;
    let clients: Client[];

    const connect = (): Client => {
      const client = new Client(port);
      clients.push(client);
      return client;
    };

    beforeEach(async () => {
      dispatcher = new TestDispatcher();
      clients = [];
      server = new RespServer({
        network: new NodeNetwork(mode),
        clock: new NodeClock(),
        log: silentLog,
        dispatcher,
        commitGate: new TestCommitGate(),
        settings: defaultRespSettings(),
      });
      port = await server.listen({ host: HOST, port: 0 });
    });

    afterEach(async () => {
      for (const { socket } of clients) socket.destroy();
      await server.stop(DEADLINE_MS);
    });

    it("answers a deep pipeline in order", async () => {
      const client = connect();
      const stream = Array.from({ length: 20_000 }, (_, i) => request("E", `value ${i}`)).join("");
      client.send(stream);
      await until("all answers", () => client.received.length >= stream.length);
      expect(client.received === stream).to.equal(true);
    });

    it("echoes megabytes unharmed while other clients ask", async () => {
      const large = connect();
      const small = connect();
      const word = "0123456789abcdef".repeat(500_000);
      large.send(request("E", word));
      for (let i = 0; i < 50; i++) {
        small.send(request("E", String(i)));
        await until("an answer", () => small.received.endsWith(request("E", String(i))));
      }
      await until("the large answer", () => large.received.length >= word.length + 20);
      expect(large.received === request("E", word)).to.equal(true);
    });

    it("answers after the client's end of a half-closed connection, then closes", async () => {
      const client = connect();
      client.socket.end(request("LATER", "1") + request("PING"));
      await until("the request", () => dispatcher.held.length === 1);
      dispatcher.held[0]!.answer();
      await until("the close", () => client.isClosed);
      expect(client.received).to.equal(`${request("LATER", "1")}+PONG\r\n`);
      await until("the session's end", () => dispatcher.sessions.size === 0);
    });

    it("an abrupt reset ends the session and nothing else", async () => {
      const client = connect();
      const other = connect();
      client.send(request("LATER", "1"));
      await until("the request", () => dispatcher.held.length === 1);
      client.socket.resetAndDestroy();
      await until("the session's end", () => dispatcher.sessions.size === 1);
      dispatcher.held[0]!.answer();
      other.send(request("PING"));
      await until("the other's answer", () => other.received === "+PONG\r\n");
    });

    it("a client that does not read is paused, then served when it reads", async () => {
      server.settings.outputSharedBytes = 1_048_576;
      const client = connect();
      client.socket.pause();
      const requests = 4_000;
      client.send(request("BIG", "10000").repeat(requests));
      await until("the pause", () => server.unsentBytes > 1_048_576);
      const ran = dispatcher.ran.length;
      expect(ran).to.be.below(requests);
      expect(server.unsentBytes).to.be.below(16 * 1_048_576);
      client.socket.resume();
      await until("all answers", () => client.received.length === requests * 10_010);
    }).timeout(20_000);

    it("QUIT closes after its answer", async () => {
      const client = connect();
      client.send(request("PING") + request("QUIT") + request("PING"));
      await until("the end", () => client.hasEnded);
      expect(client.received).to.equal("+PONG\r\n+OK\r\n");
    });

    it("stop closes the port and waits for what is in flight", async () => {
      const client = connect();
      client.send(request("LATER", "1"));
      await until("the request", () => dispatcher.held.length === 1);
      const stopped = server.stop(DEADLINE_MS);
      client.socket.on("end", () => client.socket.end());
      const late = connect();
      await until("the refusal", () => late.isClosed);
      dispatcher.held[0]!.answer();
      await stopped;
      await until("the answer", () => client.received === request("LATER", "1"));
    });
  });
}

describe("Node's network", () => {
  it("this Node reads accepted sockets through one buffer", async () => {
    expect(await probeSharedReads()).to.equal(true);
  });

  it("says which address is in use and what to do", async () => {
    const network = new NodeNetwork();
    const listener = await network.listen({ host: HOST, port: 0, onConnection: () => undefined });
    const error = await network.listen({ host: HOST, port: listener.port, onConnection: () => undefined }).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    await listener.close();
    expect(error).to.be.instanceOf(OperatingError);
    expect((error as OperatingError).code).to.equal("UNAVAILABLE");
    expect((error as OperatingError).message).to.equal(
      `cannot listen on ${HOST}:${listener.port}: the address is in use; stop what listens there or choose another port`,
    );
  });

  it("connects two ends that exchange bytes and close in order", async () => {
    const network = new NodeNetwork();
    const accepted: Connection[] = [];
    const events: string[] = [];
    const follow = (name: string, connection: Connection): void =>
      connection.start({
        onData: (chunk) => void events.push(`${name} got ${chunk.toString("latin1")}`),
        onEnd: () => {
          events.push(`${name} end`);
          connection.end();
        },
        onDrain: () => undefined,
        onClose: (error) => void events.push(`${name} closed ${error === null}`),
      });
    const listener = await network.listen({
      host: HOST,
      port: 0,
      onConnection: (connection) => {
        accepted.push(connection);
        follow("server", connection);
        connection.write("\xe9");
      },
    });
    const client = await network.connect({ host: HOST, port: listener.port, timeoutMs: DEADLINE_MS });
    follow("client", client);
    await until("the greeting", () => events.length === 1);
    client.write(Buffer.from("hello"));
    client.end();
    await until("both closes", () => events.filter((event) => event.includes("closed")).length === 2);
    await listener.close();
    expect(events.filter((event) => event.startsWith("client"))).to.deep.equal([
      "client got \xe9",
      "client end",
      "client closed true",
    ]);
    expect(events.filter((event) => event.startsWith("server"))).to.deep.equal([
      "server got hello",
      "server end",
      "server closed true",
    ]);
    expect(accepted[0]!.remotePort).to.equal(client.localPort);
  });

  it("a refused connection rejects with a reason", async () => {
    const network = new NodeNetwork();
    const listener = await network.listen({ host: HOST, port: 0, onConnection: () => undefined });
    await listener.close();
    const error = await network.connect({ host: HOST, port: listener.port, timeoutMs: DEADLINE_MS }).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect((error as OperatingError).code).to.equal("UNAVAILABLE");
  });
});
