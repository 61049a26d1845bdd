/** Child processes of Node's. A child says that it is ready through the channel that `reportReady` writes to. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { messageOf, OperatingError } from "../errors.js";
import type { Child, ChildEnd, ChildOptions, Children } from "./children.js";

/** What a child sends its parent when it is ready. */
const READY = "ready";

export class NodeChildren implements Children {
  readonly #executable: string;
  readonly #prefix: readonly string[];

  /** `executable` runs the program with the arguments `prefix` and those of the child behind them. */
  constructor(options: { readonly executable: string; readonly prefix: readonly string[] }) {
    this.#executable = options.executable;
    this.#prefix = options.prefix;
  }

  start({ args, onLine, onReady }: ChildOptions): Promise<Child> {
    // A session of its own: Ctrl-C in our terminal reaches us, and we tell the child.
    const child = spawn(this.#executable, [...this.#prefix, ...args], {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      detached: true,
    });
    child.on("message", (message) => {
      if (message === READY) onReady();
    });
    tellLines(child.stdout, onLine);
    tellLines(child.stderr, onLine);
    const ended = new Promise<ChildEnd>((resolve) => {
      child.once("close", (code, signal) => resolve({ code, signal }));
    });
    return new Promise((resolve, reject) => {
      child.once("spawn", () => resolve({ pid: child.pid!, ended, signal: (name) => signalTo(child, name) }));
      child.on("error", (error) => {
        reject(new OperatingError("UNAVAILABLE", `no process could be started: ${messageOf(error)}`, { cause: error }));
      });
    });
  }
}

/** Tells the parent that this process is ready, if there is a parent that waits for it, and lets go of it. */
export function reportReady(self: NodeJS.Process): void {
  if (self.send === undefined || !self.connected) return;
  // A parent that is gone has nothing to be told.
  self.send(READY, undefined, undefined, () => {
    if (self.connected) self.disconnect();
  });
}

function tellLines(stream: Readable | null, onLine: (line: string) => void): void {
  if (stream === null) return;
  createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on("line", onLine);
}

function signalTo(child: ChildProcess, name: "SIGTERM" | "SIGKILL"): void {
  child.kill(name);
}
