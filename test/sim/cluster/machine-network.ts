/**
 * The network as the process of one machine sees it: everything that would call into the process passes its gate. What it
 * opened is closed by the world when it ends (`SimNetwork.endProcess`, `powerOff`).
 */
import type {
  Connection,
  ConnectionHandlers,
  ConnectOptions,
  Listener,
  ListenOptions,
  Network,
} from "../../../lib/host/network.js";
import type { ProcessGate, ProcessNumber } from "./process-gate.js";

export class MachineNetwork implements Network {
  readonly #inner: Network;
  readonly #gate: ProcessGate;

  constructor(inner: Network, gate: ProcessGate) {
    this.#inner = inner;
    this.#gate = gate;
  }

  listen(options: ListenOptions): Promise<Listener> {
    const gate = this.#gate;
    const { process } = gate;
    if (process === 0) return never();
    const onConnection = (connection: Connection): void =>
      gate.pass(process, () => options.onConnection(new ProcessConnection(connection, gate, process)));
    return this.#inner.listen({ ...options, onConnection });
  }

  connect(options: ConnectOptions): Promise<Connection> {
    const gate = this.#gate;
    const { process } = gate;
    if (process === 0) return never();
    return new Promise((resolve, reject) => {
      this.#inner.connect(options).then(
        (connection) => {
          if (gate.process !== process) connection.destroy();
          else gate.pass(process, () => resolve(new ProcessConnection(connection, gate, process)));
        },
        (error: unknown) => gate.pass(process, () => reject(error)),
      );
    });
  }
}

/** A connection whose handlers reach only the process that it belongs to. */
class ProcessConnection implements Connection {
  readonly #inner: Connection;
  readonly #gate: ProcessGate;
  readonly #process: ProcessNumber;

  constructor(inner: Connection, gate: ProcessGate, process: ProcessNumber) {
    this.#inner = inner;
    this.#gate = gate;
    this.#process = process;
  }

  get remoteAddress(): string {
    return this.#inner.remoteAddress;
  }

  get remotePort(): number {
    return this.#inner.remotePort;
  }

  get localAddress(): string {
    return this.#inner.localAddress;
  }

  get localPort(): number {
    return this.#inner.localPort;
  }

  get channelBinding(): Buffer | null {
    return this.#inner.channelBinding;
  }

  get pendingBytes(): number {
    return this.#inner.pendingBytes;
  }

  start(handlers: ConnectionHandlers): void {
    const pass = (run: () => void): void => this.#gate.pass(this.#process, run);
    this.#inner.start({
      // The network delivers no data to a stopped machine, so the borrowed chunk is never held back here.
      onData: (chunk) => pass(() => handlers.onData(chunk)),
      onEnd: () => pass(() => handlers.onEnd()),
      onDrain: () => pass(() => handlers.onDrain()),
      onClose: (error) => pass(() => handlers.onClose(error)),
    });
  }

  write(bytes: string | Buffer): void {
    this.#inner.write(bytes);
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  end(): void {
    this.#inner.end();
  }

  destroy(): void {
    this.#inner.destroy();
  }
}

function never<Value>(): Promise<Value> {
  return new Promise(() => undefined);
}
