/** redis-py in a process of its own, a command at a time: for tests of clients. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isInstalled } from "./program.js";
import type { RawCall } from "./tour.js";
import { within } from "./until.js";

/** Debian's, which has the modules of its packages. */
export const PYTHON = "/usr/bin/python3";
export const BRIDGE = fileURLToPath(new URL("../../../test/e2e/redis-py-bridge.py", import.meta.url));

export function hasRedisPy(): boolean {
  return isInstalled(PYTHON, "-c", "import redis");
}

/** A client of its own process: to one server, or to a cluster. */
export class RedisPy {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exit: Promise<unknown>;

  constructor(port: number, kind: "one" | "cluster" = "one") {
    const child = spawn(PYTHON, [BRIDGE, `${port}`, kind], { stdio: ["pipe", "pipe", "inherit"] });
    this.#process = child;
    this.#exit = once(child, "exit");
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  readonly call: RawCall = async (...args) => {
    this.#process.stdin!.write(`${JSON.stringify(args)}\n`);
    const { value, done } = await within({ what: `redis-py's answer to ${args[0]}`, withinMs: 20_000 }, this.#lines.next());
    if (done) throw new Error("redis-py's process ended");
    const answer = JSON.parse(value) as { readonly reply?: unknown; readonly error?: string };
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.reply;
  };

  async close(): Promise<void> {
    this.#process.stdin!.end();
    await within({ what: "redis-py's process ends", withinMs: 10_000 }, this.#exit).catch(() => this.#process.kill("SIGKILL"));
  }
}
