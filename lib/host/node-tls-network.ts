/**
 * The Network seam over TLS, accepting and connecting. A network for clients and one for members are two of these: they
 * share certificate and authority, and differ in whom they ask for a certificate.
 *
 * INVARIANT: nothing is delivered from a connection whose other side has not shown what `asks` demands.
 *
 * Host names are not compared: members change addresses, and the authority is the trust. Without an authority a dialler
 * takes any certificate: the link is encrypted, and only the cluster's secret says who is at its other end (it is bound to the
 * connection, see `channelBinding`).
 *
 * Node's TLS server is never told to refuse by itself: what it then reports has neither the address nor the reason. It
 * would also accept a client without a certificate that resumes the session of an earlier connection: with TLS 1.3 Node takes a
 * resumed session without a certificate for a verified one. So both are looked at here: the verdict and the certificate.
 */
import type net from "node:net";
import tls from "node:tls";
import { OperatingError } from "../errors.js";
import type { Connection, ConnectOptions, Listener, ListenOptions, Network } from "./network.js";
import type { OnRefused } from "./node-connection.js";
import { listenForSockets } from "./node-network.js";
import { AcceptedTlsConnection, TlsConnection } from "./node-tls-connection.js";
import type { TlsCredentials } from "./node-tls-credentials.js";
import { certificateProblem, tlsProblem } from "./node-tls-failures.js";

/** A handshake is two round trips and a millisecond of work; who takes longer holds a place for nothing. */
const HANDSHAKE_MS_MAX = 10_000;

export interface NodeTlsOptions {
  readonly credentials: TlsCredentials;
  /** Who connects must show a certificate of the authority (`yes`), may show one, which must then be good (`optional`), or is not asked. */
  readonly asks: "no" | "optional" | "yes";
  readonly versionMin: "TLSv1.2" | "TLSv1.3";
  readonly onRefused?: OnRefused;
  readonly handshakeMsMax?: number;
}

export class NodeTlsNetwork implements Network {
  readonly #asks: NodeTlsOptions["asks"];
  readonly #versionMin: NodeTlsOptions["versionMin"];
  readonly #credentials: TlsCredentials;
  readonly #context: tls.SecureContext;
  readonly #onRefused: OnRefused | null;
  readonly #handshakeMsMax: number;

  constructor(options: NodeTlsOptions) {
    this.#asks = options.asks;
    this.#versionMin = options.versionMin;
    this.#credentials = options.credentials;
    this.#context = tls.createSecureContext(this.#secureOptions());
    this.#onRefused = options.onRefused ?? null;
    this.#handshakeMsMax = options.handshakeMsMax ?? HANDSHAKE_MS_MAX;
  }

  listen(options: ListenOptions): Promise<Listener> {
    /** Connections whose handshake is under way, by both their addresses: Node names a handshake's socket only by these. */
    const underWay = new Map<string, AcceptedTlsConnection>();
    // It never listens: accepted sockets are given to it.
    const server = tls.createServer({
      ...this.#secureOptions(),
      requestCert: this.#asks !== "no",
      rejectUnauthorized: false,
    });
    server.on("secureConnection", (socket) => {
      const accepted = underWay.get(keyOf(socket));
      const problem = this.#problemOf(socket);
      if (accepted === undefined || problem !== null) {
        socket.on("error", () => undefined);
        if (problem !== null) accepted?.refuse(problem);
        socket.destroy();
      } else accepted.secured(socket);
    });
    server.on("tlsClientError", (error, socket) => {
      underWay.get(keyOf(socket))?.refuse(tlsProblem(error, "handshake"));
      socket.destroy();
    });
    // Not half-open while the handshake lasts: who leaves in the middle of it is gone.
    return listenForSockets(options, { pauseOnConnect: false, allowHalfOpen: false }, (raw) => {
      const key = keyOf(raw);
      const accepted = new AcceptedTlsConnection({
        raw,
        handshakeMsMax: this.#handshakeMsMax,
        onRefused: this.#onRefused,
        onSettled: () => underWay.delete(key),
      });
      underWay.set(key, accepted);
      server.emit("connection", raw);
      options.onConnection(accepted);
    });
  }

  connect(options: ConnectOptions): Promise<Connection> {
    const where = `${options.host}:${options.port}`;
    return new Promise((resolve, reject) => {
      const wanted: tls.ConnectionOptions & { allowHalfOpen: boolean } = {
        host: options.host,
        port: options.port,
        allowHalfOpen: true,
        secureContext: this.#context,
        rejectUnauthorized: this.#credentials.authority !== null,
        checkServerIdentity: () => undefined,
      };
      const socket = tls.connect(wanted);
      socket.setNoDelay(true);
      const deadline = setTimeout(() => {
        socket.destroy();
        reject(new OperatingError("TIMEOUT", `no TLS connection to ${where} within ${options.timeoutMs} ms`));
      }, options.timeoutMs);
      socket.on("error", (cause) => {
        clearTimeout(deadline);
        const why = tlsProblem(cause, "handshake");
        reject(new OperatingError("UNAVAILABLE", `cannot connect to ${where} over TLS: ${why}`, { cause }));
      });
      socket.once("secureConnect", () => {
        clearTimeout(deadline);
        socket.pause();
        resolve(new TlsConnection(socket));
      });
    });
  }

  #secureOptions(): tls.SecureContextOptions {
    const { certificate, key, authority } = this.#credentials;
    return { cert: certificate, key, minVersion: this.#versionMin, ...(authority !== null && { ca: authority }) };
  }

  /** Why the other side of an accepted connection is not served; null when it is. */
  #problemOf(socket: tls.TLSSocket): string | null {
    if (this.#asks === "no") return null;
    if (socket.getPeerX509Certificate() === undefined) {
      return this.#asks === "yes"
        ? "it presented no certificate, and one signed by the authority in tls-ca is asked for"
        : null;
    }
    if (socket.authorized) return null;
    const code = String(socket.authorizationError);
    return certificateProblem(code) ?? `its certificate is refused: ${code}`;
  }
}

function keyOf(socket: net.Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;
}
