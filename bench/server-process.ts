/**
 * A server under test: Kindred or Redis as a process of its own on a free loopback port, with its data in a directory that
 * is removed with it. Stopped by its process id and no other way.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./report.js";

const START_MS_MAX = 30_000;
const STOP_MS_MAX = 30_000;
/** A member's peer port is its port + 10000, so that has to be a port too. */
const PORT_MAX = 55_000;

export interface ServerKind {
  readonly name: string;
  readonly command: string;
  readonly args: (at: { readonly port: number; readonly directory: string }) => readonly string[];
}

export type Fsync = "always" | "everysec";

/** Our server, as `npm start` would run it. */
const main = join(root, "dist", "lib", "main.js");

export function isKindredBuilt(): boolean {
  return existsSync(main);
}

/** Why there is nothing to compare, or null: what redis-benchmark and a redis-server beside ours take. */
export async function missingPrograms(): Promise<string | null> {
  if (!isKindredBuilt()) return "this tree has no server: dist/lib/main.js does not exist";
  for (const program of ["redis-server", "redis-benchmark"]) {
    if (!(await isInstalled(program))) return `${program} is not installed (Debian: redis-server, redis-tools)`;
  }
  return null;
}

export function kindredServer(fsync: Fsync, nodeFlags: readonly string[] = []): ServerKind {
  const fixed = [...nodeFlags, main, "server", "--appendfsync", fsync, "--peer-port", "0"];
  return {
    name: "Kindred",
    command: process.execPath,
    args: ({ port, directory }) => [...fixed, "--port", `${port}`, "--dir", directory],
  };
}

/** As the bars have it: append-only log, no snapshots. */
export function redisServer(fsync: Fsync): ServerKind {
  const fixed = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", fsync];
  return {
    name: "redis-server",
    command: "redis-server",
    args: ({ port, directory }) => ["--port", `${port}`, "--dir", directory, ...fixed],
  };
}

export class ServerProcess {
  readonly port: number;
  readonly #kind: ServerKind;
  readonly #directory: string;
  #child: ChildProcess;
  #exited: Promise<unknown>;

  private constructor(options: { kind: ServerKind; child: ChildProcess; port: number; directory: string }) {
    this.port = options.port;
    this.#kind = options.kind;
    this.#directory = options.directory;
    this.#child = options.child;
    this.#exited = once(options.child, "exit");
  }

  /** Starts a server and waits until it answers PING. Throws, with what the server printed, when it does not. */
  static async start(kind: ServerKind): Promise<ServerProcess> {
    const port = await freePort();
    const directory = mkdtempSync(join(tmpdir(), "kindred-bench-"));
    const server = new ServerProcess({ kind, child: spawnServer(kind, { port, directory }), port, directory });
    try {
      await server.#answers();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** Ends the process by this signal and starts it again; returns the seconds from its start to its first answer. */
  async restart(signal: "SIGTERM" | "SIGKILL"): Promise<number> {
    await this.#end(signal);
    const startMs = performance.now();
    this.#child = spawnServer(this.#kind, { port: this.port, directory: this.#directory });
    this.#exited = once(this.#child, "exit");
    await this.#answers();
    return (performance.now() - startMs) / 1_000;
  }

  /** Bytes of all files in the data directory. */
  storedBytes(): number {
    const files = readdirSync(this.#directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
  }

  /** Resident memory in bytes: now, and at its highest since the start. Null where the system does not tell. */
  memory(): { readonly nowBytes: number; readonly highestBytes: number } | null {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
      const field = (name: string) => 1_024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
      return { nowBytes: field("VmRSS"), highestBytes: field("VmHWM") };
    } catch {
      return null;
    }
  }

  /** Asks the process to end, insists after a while, and removes its directory. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill(signal);
    const insist = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
    await this.#exited;
    clearTimeout(insist);
  }

  async #answers(): Promise<void> {
    const child = this.#child;
    let printed = "";
    const keep = (chunk: Buffer) => {
      printed = `${printed}${chunk}`.slice(-4_000);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    const failed = once(child, "exit").then(([code]) =>
      Promise.reject(new Error(`${this.#kind.name} ended with ${code}:\n${printed}`)),
    );
    failed.catch(() => undefined);
    await Promise.race([answersPing(this.port), failed]);
  }
}

function spawnServer(kind: ServerKind, at: { readonly port: number; readonly directory: string }): ChildProcess {
  return spawn(kind.command, kind.args(at), { cwd: at.directory, stdio: ["ignore", "pipe", "pipe"] });
}

/** A port that nobody listens on now. */
async function freePort(): Promise<number> {
  for (;;) {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const address = probe.address();
    probe.close();
    await once(probe, "close");
    if (typeof address === "object" && address !== null && address.port <= PORT_MAX) return address.port;
  }
}

async function answersPing(port: number): Promise<void> {
  const deadline = performance.now() + START_MS_MAX;
  for (;;) {
    if (await pings(port)) return;
    if (performance.now() > deadline) throw new Error(`no answer to PING on port ${port} within ${START_MS_MAX} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function pings(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket: Socket = connect(port, "127.0.0.1");
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => settle(false));
    socket.on("error", () => settle(false));
    socket.on("connect", () => socket.write("PING\r\n"));
    socket.on("data", (chunk: Buffer) => settle(chunk.toString("latin1").startsWith("+PONG")));
  });
}

/** Whether a program is installed. */
export function isInstalled(command: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, ["--version"], { stdio: "ignore" });
    child.on("error", () => resolve(false));
    child.on("exit", (code) => resolve(code === 0));
  });
}
