/**
 * Reading all sockets of a process through one buffer. Node offers this (`onread`) to sockets that connect; for accepted
 * ones it takes an undocumented step: a second socket is built around the accepted handle. This file alone knows of it,
 * and a probe decides at start whether this Node allows it; where it does not, sockets fall back to `data` events.
 *
 * INVARIANT: a handle has one owner. The accepted socket gives its handle up before the new one may read from it.
 */
import net from "node:net";

/** One read of the system fills at most this many bytes. */
const READ_BYTES_MAX = 65_536;
/** A loopback exchange takes about a millisecond; a probe that lasts this long has failed. */
const PROBE_MS_MAX = 2_000;

/** What is called with each read; the bytes are valid until it returns. False stops the reading. */
export type OnRead = (chunk: Buffer) => boolean;

/** The accepted socket's inner parts, as far as they are moved to the new one. */
interface SocketParts {
  _handle: unknown;
  _server: unknown;
  server: unknown;
}

export class SharedReads {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES_MAX);

  /** The `onread` option of a socket: reads land in the shared buffer and are handed to `onRead`. */
  option(onRead: OnRead): net.OnReadOpts {
    const buffer = this.#buffer;
    return {
      buffer,
      callback: (length: number) => onRead(length === READ_BYTES_MAX ? buffer : buffer.subarray(0, length)),
    };
  }

  /** Moves an accepted, paused socket's handle into a new socket that reads through the shared buffer, at once. */
  adopt(accepted: net.Socket, onRead: OnRead): net.Socket {
    const from = accepted as unknown as SocketParts;
    const options = { handle: from._handle, allowHalfOpen: true, onread: this.option(onRead) };
    const socket = new net.Socket(options as net.SocketConstructorOpts);
    const to = socket as unknown as SocketParts;
    to._server = from._server;
    to.server = from.server;
    from._handle = null;
    from._server = null;
    return socket;
  }
}

/** Tries a whole exchange over loopback: data both ways in two parts, and a half-close. Never rejects. */
export function probeSharedReads(): Promise<boolean> {
  const reads = new SharedReads();
  return new Promise((resolve) => {
    const open: net.Socket[] = [];
    const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true });
    const finish = (works: boolean): void => {
      clearTimeout(deadline);
      for (const socket of open) socket.destroy();
      server.close();
      resolve(works);
    };
    const fail = (): void => finish(false);
    const deadline = setTimeout(fail, PROBE_MS_MAX);
    server.on("error", fail);
    server.on("connection", (accepted) => {
      try {
        let received = "";
        const socket = reads.adopt(accepted, (chunk) => {
          received += chunk.toString("latin1");
          socket.write("+");
          return true;
        });
        open.push(socket);
        socket.on("error", fail);
        socket.on("end", () => socket.end(received));
      } catch {
        fail();
      }
    });
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") return fail();
      let answer = "";
      let isHalfClosed = false;
      const client = net.connect({ host: "127.0.0.1", port: address.port, allowHalfOpen: true });
      open.push(client);
      client.on("error", fail);
      client.on("connect", () => client.write("one"));
      client.on("data", (chunk) => {
        answer += chunk.toString("latin1");
        if (isHalfClosed) return;
        isHalfClosed = true;
        client.end("two");
      });
      client.on("end", () => finish(answer === "++onetwo"));
    });
  });
}
