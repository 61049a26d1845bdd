/** Runs a program to its end, with a deadline after which it is killed: command-line tools under test. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface Outcome {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Written to the program's stdin, which is then closed. */
  readonly input?: string | Buffer;
  readonly withinMs?: number;
  /** For programs that go on for ever: stopped when their output matches. */
  readonly endAfter?: RegExp;
  readonly environment?: Readonly<Record<string, string>>;
  readonly directory?: string;
}

const WITHIN_MS = 15_000;

/** The built `kindred` program. */
export const mainPath = fileURLToPath(new URL("../../lib/main.js", import.meta.url));

/** What the environment of the test has to say about settings is not for the programs under test. */
export function cleanEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string | undefined> {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("KINDRED_"));
  return { ...Object.fromEntries(own), ...extra };
}

/** Rejects only when the program cannot be started or does not end in time (it is killed then). */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const { withinMs = WITHIN_MS, input = "", environment = {}, directory, endAfter } = options;
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: cleanEnvironment(environment),
    ...(directory !== undefined && { cwd: directory }),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => {
    stdout.push(chunk);
    if (endAfter?.test(`${Buffer.concat(stdout)}`)) child.kill("SIGTERM");
  });
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A program may end without reading its input.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, withinMs);
  const killAtExit = (): void => void child.kill("SIGKILL");
  process.once("exit", killAtExit);
  try {
    const [code] = (await once(child, "close")) as [number | null];
    const outcome = { code, stdout: `${Buffer.concat(stdout)}`, stderr: `${Buffer.concat(stderr)}` };
    if (isLate)
      throw new Error(`${command} ${args.join(" ")} did not end within ${withinMs} ms:\n${outcome.stdout.slice(-2_000)}`);
    return outcome;
  } finally {
    clearTimeout(timer);
    process.removeListener("exit", killAtExit);
  }
}

/** Runs our own program. */
export function runKindred(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [mainPath, ...args], options);
}

/** Whether a program is there and ends with 0 for these arguments. */
export function isInstalled(command: string, ...args: readonly string[]): boolean {
  return spawnSync(command, args.length === 0 ? ["--version"] : args, { stdio: "ignore" }).status === 0;
}

/** Skips the running test or suite, and says why where whoever runs the tests sees it. */
export function skip(context: Mocha.Context, reason: string): never {
  process.stdout.write(`      skipped: ${reason}\n`);
  return context.skip();
}
