/**
 * The program that runs within a network namespace for NetworkNamespaces: makes connections there and hands them to its parent, and
 * passes what comes from the other namespace on with a delay. Ends with its parent.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export type AgentOrder =
  | { readonly kind: "dial"; readonly port: number }
  | {
      readonly kind: "pass";
      /** Of this namespace. */
      readonly address: string;
      readonly announced: number;
      readonly peer: number;
      readonly delayMs: number;
    };

/** A connection that was dialled comes with it. */
export interface AgentAnswer {
  readonly id: number;
  readonly error: string | null;
}

process.on("disconnect", () => process.exit());
process.on("message", async ({ id, order }: { readonly id: number; readonly order: AgentOrder }) => {
  try {
    if (order.kind === "pass") await pass(order);
    const socket = order.kind === "dial" ? await dial(order.port) : undefined;
    process.send!({ id, error: null } satisfies AgentAnswer, socket);
  } catch (error) {
    process.send!({ id, error: String(error) } satisfies AgentAnswer);
  }
});

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  // Else this process would go on reading until it hears that the other has taken it over, and lose what it reads.
  socket.pause();
  await once(socket, "connect");
  return socket;
}

async function pass({ address, announced, peer, delayMs }: AgentOrder & { readonly kind: "pass" }): Promise<void> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (dialler) => {
    const lateMs = dialler.remoteAddress === address ? 0 : delayMs;
    const acceptor = connect({ port: peer, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    passLate(dialler, acceptor, lateMs);
    passLate(acceptor, dialler, lateMs);
  });
  server.listen(announced, address);
  await once(server, "listening");
}

/** As `pipe`, later. Timers of one delay keep their order. */
function passLate(from: Socket, to: Socket, lateMs: number): void {
  const later = lateMs === 0 ? (work: () => void) => work() : (work: () => void) => void setTimeout(work, lateMs);
  from.on("data", (chunk) => later(() => !to.destroyed && !to.write(chunk) && from.pause()));
  to.on("drain", () => from.resume());
  from.on("end", () => later(() => to.end()));
  from.on("error", () => undefined);
  from.on("close", () => later(() => to.destroy()));
}
