/** A running `kindred cluster` of real processes, and ports for it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { cleanEnvironment, mainPath } from "./program.js";
import { until, within } from "./until.js";

const READY_MS_MAX = 40_000;
const STOP_MS_MAX = 20_000;

/** A running `kindred cluster`, and what it printed. */
export class ClusterProcess {
  readonly #child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  output = "";
  #processIds: readonly number[] = [];

  constructor(args: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#child = spawn(process.execPath, [mainPath, "cluster", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: cleanEnvironment(environment),
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString("utf8");
      });
    }
    this.ended = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => resolve({ code, signal }));
    });
  }

  /** Process ids of the members, in their order. */
  get processIds(): readonly number[] {
    return this.#processIds;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async ready(): Promise<void> {
    await until({ what: "all members are ready", withinMs: READY_MS_MAX }, () => {
      if (!this.isRunning) throw new Error(`it ended before it was ready:\n${this.output}`);
      return this.output.includes("stop      Ctrl-C\n") ? true : null;
    });
    this.#processIds = [...this.output.matchAll(/^ {2}node-\S+ .*:\d+ +(\d+) {2}/gm)].map(([, id]) => Number(id));
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Resolves with how it ended. */
  stopped(): Promise<{ readonly code: number | null; readonly signal: string | null }> {
    return within({ what: `it ends:\n${this.output}`, withinMs: STOP_MS_MAX }, this.ended);
  }

  /** Ends what may still run of it. */
  async end(): Promise<void> {
    for (const id of this.#processIds) if (isProcess(id)) process.kill(id, "SIGKILL");
    this.signal("SIGKILL");
    await this.ended;
  }
}

export function isProcess(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch {
    return false;
  }
}

export async function listening(
  port: number,
  onConnection: (write: (text: string) => void) => void = () => undefined,
): Promise<Server> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => onConnection((text) => socket.end(text)));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

export async function closed(server: Server): Promise<void> {
  server.close();
  await once(server, "close");
}

export function portOf(server: Server): number {
  return (server.address() as { port: number }).port;
}
