/** A redis-server of our own for a test, on a socket in a temporary directory: whose replies ours are compared with. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { latin1Of } from "../../lib/bytes/latin1.js";

const START_TIMEOUT_MS = 10_000;
/** Echoed behind each request, so that the end of its reply is known. */
const MARKER = "@end-of-reply@";
const MARKER_REQUEST = encode(["ECHO", MARKER]);
const MARKER_REPLY = `$${MARKER.length}\r\n${MARKER}\r\n`;

/** Whether there is a redis-server to start, of the version that replies were written against. */
export function isRedisInstalled(): boolean {
  const { stdout } = spawnSync("redis-server", ["--version"], { encoding: "latin1" });
  return stdout?.includes("v=7.0.") ?? false;
}

export class RedisProcess {
  readonly #process: ChildProcess;
  readonly #directory: string;

  private constructor(process: ChildProcess, directory: string) {
    this.#process = process;
    this.#directory = directory;
  }

  static async start(): Promise<RedisProcess> {
    const directory = mkdtempSync(join(tmpdir(), "kindred-redis-"));
    const settings = { port: "0", unixsocket: join(directory, "socket"), dir: directory, save: "", appendonly: "no" };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "ignore"] });
    await new Promise<void>((resolve, reject) => {
      let log = "";
      const timer = setTimeout(() => reject(new Error(`redis-server did not start: ${log}`)), START_TIMEOUT_MS);
      child.on("error", reject);
      child.stdout.on("data", (chunk: Buffer) => {
        log += latin1Of(chunk);
        if (!log.includes("ready to accept connections") && !log.includes("Ready to accept connections")) return;
        clearTimeout(timer);
        resolve();
      });
    });
    return new RedisProcess(child, directory);
  }

  connect(): RedisConnection {
    return new RedisConnection(connect(join(this.#directory, "socket")));
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill();
    await ended;
    rmSync(this.#directory, { recursive: true });
  }
}

/** Runs one request at a time. */
export class RedisConnection {
  readonly #socket: Socket;
  #received = "";
  #resolve: ((reply: string) => void) | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#take(chunk));
  }

  /** The bytes of the reply, latin1. */
  run(...args: readonly (string | Buffer)[]): Promise<string> {
    this.#received = "";
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#socket.write(Buffer.concat([encode(args), MARKER_REQUEST]));
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received += latin1Of(chunk);
    if (this.#received.endsWith(MARKER_REPLY)) this.#resolve?.(this.#received.slice(0, -MARKER_REPLY.length));
  }
}

function encode(args: readonly (string | Buffer)[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = typeof arg === "string" ? Buffer.from(arg, "latin1") : arg;
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n"));
  }
  return Buffer.concat(parts);
}
