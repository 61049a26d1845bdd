/**
 * The Network seam on Node's sockets. Chunks are read into one buffer of the process where this Node allows it (see
 * node-shared-reads.ts), so they are truly borrowed. Sockets stay half-open after the other side's end until this side
 * ends too. Nagle's delay is off, keep-alive is on.
 */
import net from "node:net";
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";
import type { Connection, ConnectOptions, Listener, ListenOptions, Network } from "./network.js";
import { NodeConnection, type OnRefused } from "./node-connection.js";
import { probeSharedReads, SharedReads } from "./node-shared-reads.js";

/** Connections waiting to be accepted, as Redis's tcp-backlog; the system caps it. */
const BACKLOG = 511;
/** As Redis's tcp-keepalive: a vanished peer is noticed after about two such periods. */
const KEEP_ALIVE_MS = 300_000;

/** How accepted sockets are read: `probe` uses the shared buffer where it works. */
export type ReadMode = "probe" | "data-events";

export class NodeNetwork implements Network {
  readonly #reads = new SharedReads();
  readonly #mode: ReadMode;
  readonly #onRefused: OnRefused | null;
  #sharing: Promise<boolean> | null = null;

  constructor(mode: ReadMode = "probe", onRefused: OnRefused | null = null) {
    this.#mode = mode;
    this.#onRefused = onRefused;
  }

  async listen(options: ListenOptions): Promise<Listener> {
    const isSharing = await this.#isSharing();
    const reads = isSharing ? this.#reads : null;
    return listenForSockets(options, { pauseOnConnect: isSharing, allowHalfOpen: true }, (accepted) =>
      options.onConnection(new NodeConnection(accepted, reads, this.#onRefused)),
    );
  }

  connect(options: ConnectOptions): Promise<Connection> {
    const where = `${options.host}:${options.port}`;
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: options.host, port: options.port, allowHalfOpen: true, noDelay: true });
      const deadline = setTimeout(() => {
        socket.destroy();
        reject(new OperatingError("TIMEOUT", `no connection to ${where} within ${options.timeoutMs} ms`));
      }, options.timeoutMs);
      const fail = (cause: Error): void => {
        clearTimeout(deadline);
        reject(new OperatingError("UNAVAILABLE", `cannot connect to ${where}: ${cause.message}`, { cause }));
      };
      socket.once("error", fail);
      socket.once("connect", () => {
        clearTimeout(deadline);
        socket.off("error", fail);
        socket.pause();
        resolve(new NodeConnection(socket, null));
      });
    });
  }

  #isSharing(): Promise<boolean> {
    this.#sharing ??= this.#mode === "probe" ? probeSharedReads() : Promise.resolve(false);
    return this.#sharing;
  }
}

/** Listens, and hands over each socket that somebody is at the other end of. */
export async function listenForSockets(
  options: { readonly host: string; readonly port: number },
  socketOptions: { readonly pauseOnConnect: boolean; readonly allowHalfOpen: boolean },
  onSocket: (accepted: net.Socket) => void,
): Promise<Listener> {
  const server = net.createServer({
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    ...socketOptions,
  });
  server.on("connection", (accepted: net.Socket) => {
    // A client that is gone already has no address; there is nobody to serve.
    if (accepted.remoteAddress === undefined) accepted.destroy();
    else onSocket(accepted);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => reject(listenError(options, cause)));
    server.listen({ host: options.host, port: options.port, backlog: BACKLOG }, resolve);
  });
  // Failing accepts (no file descriptors left) are retried by Node; the listener stays.
  server.on("error", () => undefined);
  return new NodeListener(server);
}

class NodeListener implements Listener {
  readonly port: number;
  readonly #server: net.Server;

  constructor(server: net.Server) {
    const address = server.address();
    assert(address !== null && typeof address === "object", "a listening TCP server has an address");
    this.port = address.port;
    this.#server = server;
  }

  /** The port is free when this returns; Node's own callback would wait for the open connections too. */
  close(): Promise<void> {
    if (this.#server.listening) this.#server.close();
    return Promise.resolve();
  }
}

function listenError(options: { readonly host: string; readonly port: number }, cause: NodeJS.ErrnoException): OperatingError {
  const where = `${options.host}:${options.port}`;
  const advice =
    cause.code === "EADDRINUSE"
      ? "the address is in use; stop what listens there or choose another port"
      : cause.code === "EACCES"
        ? "not permitted; choose a port above 1023"
        : cause.code === "EADDRNOTAVAIL"
          ? "this machine has no such address; choose another to bind"
          : cause.message;
  return new OperatingError("UNAVAILABLE", `cannot listen on ${where}: ${advice}`, { cause });
}
