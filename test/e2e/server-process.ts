/**
 * A real `kindred server` process under test: on a free loopback port, with its data in a temporary directory.
 *
 * Invariant: no process, directory or mount outlives its test: `Servers` ends what it started, by process id, after each
 * test or suite, and when the test runner itself ends early.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { here, type Place } from "./place.js";
import { cleanEnvironment, mainPath } from "./program.js";
import { until, within } from "./until.js";
import { WireClient } from "./wire-client.js";

export type ServerSettings = Readonly<Record<string, string>>;

export interface StartOptions {
  /** Flags by name, without the dashes. */
  readonly settings?: ServerSettings;
  readonly environment?: Readonly<Record<string, string>>;
  /** An existing directory for the data, which stays; without it a temporary one. */
  readonly directory?: string;
  /** The main program of another build. */
  readonly program?: string;
  /** Default: where the test runs. */
  readonly place?: Place;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string };

const START_MS_MAX = 20_000;
const STOP_MS_MAX = 15_000;
const READY = "ready to accept connections";
/** Output kept of each run: enough for every line of interest, whatever a server under attack logs. */
const OUTPUT_CHARACTERS_MAX = 4_000_000;

export class ServerProcess {
  readonly directory: string;
  readonly settings: ServerSettings;
  /** What its next start runs. */
  program: string;
  readonly #place: Place;
  readonly #environment: Readonly<Record<string, string>>;
  #child!: ChildProcess;
  #exit!: Promise<Exit>;
  #output = "";
  #port = 0;

  constructor(options: {
    directory: string;
    settings: ServerSettings;
    environment: Readonly<Record<string, string>>;
    program?: string;
    place?: Place;
  }) {
    this.directory = options.directory;
    this.program = options.program ?? mainPath;
    this.settings = options.settings;
    this.#place = options.place ?? here;
    this.#environment = options.environment;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** What the present run has printed. */
  get output(): string {
    return this.#output;
  }

  /** The log of the present run. Lines that are not JSON are left out. */
  get log(): readonly LogLine[] {
    return this.#output.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as LogLine] : []));
  }

  /** How the present run ended, once it has. */
  get exit(): Promise<Exit> {
    return this.#exit;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Starts the process, on any free port unless the settings name one, and waits until it is ready. Rejects, with its output, when it ends instead. */
  async start(): Promise<void> {
    this.#output = "";
    // Any free port for members: 10000 above a free port for clients there may be none.
    const settings = {
      port: "0",
      "peer-port": "0",
      bind: "127.0.0.1",
      dir: this.directory,
      "log-format": "json",
      ...this.settings,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const [command, ...before] = this.#place.command;
    const child = spawn(command, [...before, this.program, "server", ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
      env: cleanEnvironment(this.#environment),
    });
    this.#child = child;
    this.#exit = new Promise((resolve, reject) => {
      child.once("close", (code, signal) => resolve({ code, signal }));
      child.once("error", reject);
    });
    const keep = (chunk: Buffer): void => {
      if (this.#output.length < OUTPUT_CHARACTERS_MAX) this.#output += chunk.toString("utf8");
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    const ready = until({ what: `the server is ready:\n${this.#output}`, withinMs: START_MS_MAX }, () => {
      if (!this.isRunning) throw new Error(`the server ended before it was ready:\n${this.#output}`);
      return this.#output.includes(READY) ? this.log.find(({ msg }) => msg === READY)! : null;
    });
    this.#port = Number((await ready).port);
  }

  /** Asks the process to stop and resolves with how it ended. */
  terminate(): Promise<Exit> {
    return this.#end("SIGTERM");
  }

  /** Ends the process without a warning. */
  kill(): Promise<Exit> {
    return this.#end("SIGKILL");
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<Exit> {
    if (this.isRunning) this.#child.kill(signal);
    return within(
      { what: `the server ends after ${signal}:\n${this.#output.slice(-2_000)}`, withinMs: STOP_MS_MAX },
      this.#exit,
    );
  }

  /** Starts again on the same directory; the process must have ended. */
  async restart(): Promise<{ readonly tookMs: number }> {
    const startedMs = performance.now();
    await this.start();
    return { tookMs: performance.now() - startedMs };
  }

  /** A connection of ours, to be closed by whoever asked. */
  async connect(): Promise<WireClient> {
    return WireClient.on(await this.#place.dial(this.#port));
  }

  /** Resident memory in bytes at present, as the system has it. Null where it does not tell. */
  residentBytes(): number | null {
    try {
      const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, "utf8"))?.[1];
      return kilobytes === undefined ? null : 1_024 * Number(kilobytes);
    } catch {
      return null;
    }
  }

  /** For `process.on("exit")`, where nothing can be waited for. */
  killNow(): void {
    if (this.#child?.pid !== undefined && this.isRunning) this.#child.kill("SIGKILL");
  }
}

/** Starts servers and ends them. Made by `serversOfTest` or `serversOfSuite`. */
export class Servers {
  readonly #servers: ServerProcess[] = [];
  readonly #directories: string[] = [];
  readonly #mounted: string[] = [];

  async start({
    settings = {},
    environment = {},
    directory = this.makeDirectory(),
    program = mainPath,
    place = here,
  }: StartOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess({ directory, settings, environment, program, place });
    if (this.#servers.length === 0) process.on("exit", this.#atExit);
    this.#servers.push(server);
    await server.start();
    return server;
  }

  /** A temporary directory, removed with the servers. */
  makeDirectory(): string {
    const directory = mkdtempSync(join(tmpdir(), "kindred-e2e-"));
    this.#directories.push(directory);
    return directory;
  }

  /** Mounts a file system of so many bytes there, until the servers end. Returns why that cannot be done, or null. */
  mountDisk(directory: string, bytes: number): string | null {
    if (process.getuid?.() !== 0) return "only root may mount a file system";
    const args = ["-t", "tmpfs", "-o", `size=${bytes}`, "kindred-e2e", directory];
    const { status, stderr, error } = spawnSync("mount", args, { encoding: "utf8" });
    if (status !== 0) return (error?.message ?? stderr).trim();
    this.#mounted.push(directory);
    return null;
  }

  /** The end of what each server printed: for a test that failed. */
  lastWords(): string {
    return this.#servers.map((server) => `      the server with pid ${server.pid}:\n${server.output.slice(-3_000)}\n`).join("");
  }

  async endAll(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.kill()));
    this.#forget();
  }

  readonly #atExit = (): void => {
    for (const server of this.#servers) server.killNow();
    this.#forget();
  };

  #forget(): void {
    process.removeListener("exit", this.#atExit);
    this.#servers.length = 0;
    for (const directory of this.#mounted.splice(0)) spawnSync("umount", ["--lazy", directory]);
    for (const directory of this.#directories.splice(0)) rmSync(directory, { recursive: true, force: true });
  }
}

/** Servers that live as long as one test: call it inside `describe`. */
export function serversOfTest(): Servers {
  const servers = new Servers();
  afterEach("end the servers of the test", async function () {
    if (this.currentTest?.isFailed()) process.stdout.write(servers.lastWords());
    await servers.endAll();
  });
  return servers;
}

/** Servers that all tests of a suite share: call it inside `describe`, start them in `before`. */
export function serversOfSuite(): Servers {
  const servers = new Servers();
  after("end the servers of the suite", () => servers.endAll());
  return servers;
}
