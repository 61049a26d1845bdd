/** A front end on real sockets with TLS, and clients of it, for tests of several folders. */
import net from "node:net";
import tls from "node:tls";
import type { Network } from "../../lib/host/network.js";
import { NodeClock } from "../../lib/host/node-clock.js";
import { checkCredentials, type TlsCredentials } from "../../lib/host/node-tls-credentials.js";
import { NodeTlsNetwork, type NodeTlsOptions } from "../../lib/host/node-tls-network.js";
import { silentLog } from "../../lib/log.js";
import { RespServer } from "../../lib/resp/server.js";
import type { Session } from "../../lib/resp/session.js";
import { defaultRespSettings } from "../../lib/resp/settings.js";
import { TestCommitGate, TestDispatcher } from "../resp/harness.js";
import { Authority, type Minted } from "./certificates.js";

export const DEADLINE_MS = 5_000;
export const HOST = "127.0.0.1";

export const authority = new Authority("authority of the tests");
export const stranger = new Authority("another authority");
export const own = authority.issue("node");

export function credentialsOf(minted: Minted, trusted: Authority | null = authority): TlsCredentials {
  return checkCredentials({
    cert: { path: "cert.pem", pem: minted.cert },
    key: { path: "key.pem", pem: minted.key },
    ca: trusted === null ? null : { path: "ca.pem", pem: trusted.cert },
  });
}

/** Waits for a condition, looking after each turn of the loop. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A client's socket that collects what it receives. */
export class Client {
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
export class FrontEnd {
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
