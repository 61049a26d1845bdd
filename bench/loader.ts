/** Fills a server with distinct pairs through pipelined SETs: as fast as it takes them, a bounded number in flight. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { pairKey, pairValue } from "./workload.js";

const CONNECTIONS = 8;
const DEPTH = 200;
const OK = "+OK\r\n";

/** Sets the pairs `from` up to (without) `to`. Throws at the first reply that is not OK. */
export async function load(port: number, { from, to }: { readonly from: number; readonly to: number }): Promise<void> {
  const next = { index: from };
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      await once(socket, "connect");
      try {
        await feed(socket, next, to);
      } finally {
        socket.destroy();
      }
    }),
  );
}

/** Sends a batch, waits for its replies, and takes the next one from the common counter. */
async function feed(socket: Socket, next: { index: number }, to: number): Promise<void> {
  const replies = new Replies(socket);
  while (next.index < to) {
    const start = next.index;
    const end = Math.min(start + DEPTH, to);
    next.index = end;
    socket.write(requests(start, end), "latin1");
    await replies.expect(end - start);
  }
}

function requests(start: number, end: number): string {
  let text = "";
  for (let index = start; index < end; index++) {
    const key = pairKey(index);
    const value = pairValue(index);
    text += `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value.toString("latin1")}\r\n`;
  }
  return text;
}

/** Counts OKs as they come in. */
class Replies {
  #missing = 0;
  #partial = "";
  #resolve: () => void = () => undefined;
  #reject: (error: Error) => void = () => undefined;

  constructor(socket: Socket) {
    socket.on("data", (chunk: Buffer) => this.#take(chunk.toString("latin1")));
    socket.on("error", (error) => this.#reject(error));
    socket.on("end", () => this.#reject(new Error("the server closed the connection")));
  }

  expect(count: number): Promise<void> {
    this.#missing = count;
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  #take(text: string): void {
    const all = this.#partial + text;
    const whole = all.length - (all.length % OK.length);
    if (all.slice(0, whole) !== OK.repeat(whole / OK.length))
      return this.#reject(new Error(`a SET was answered ${JSON.stringify(all.slice(0, 200))}`));
    this.#partial = all.slice(whole);
    this.#missing -= whole / OK.length;
    if (this.#missing === 0) this.#resolve();
  }
}
