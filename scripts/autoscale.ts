/**
 * `npm run autoscale [-- --port 7600 --json]`: `kindred autoscale` under redis-benchmark that begins and ends, with a client beside
 * it that checks every answer. Prints what was decided, who was a member when, and ends with 1 where a bar is missed.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { type AutoscaleReport, type Raise, runAutoscale } from "../test/e2e/autoscale-run.js";
import { isInstalled } from "../test/e2e/program.js";
import { say, wholeNumber } from "./run-options.js";

const RATE = 200;
const RATE_RAISED = 3_000;
const KEYS = 10_000;
const STEP_MS_MAX = 240_000;

const options = new Command("autoscale")
  .description("raise and lower the load of a cluster that scales itself, and check what clients were told")
  .option("--port <port>", "of the first member; four follow", wholeNumber, 7_600)
  .option("--busy <percent>", "target for the members' event loops", wholeNumber, 35)
  .option("--max <members>", "members that the raised load is to bring", wholeNumber, 5)
  .option("--json", "print the report for machines", false)
  .parse()
  .opts<{ port: number; busy: number; max: number; json: boolean }>();

const hasBenchmark = isInstalled("redis-benchmark", "--version");
const directory = mkdtempSync(join(tmpdir(), "kindred-autoscale-"));
try {
  if (!hasBenchmark) process.stderr.write("redis-benchmark is not installed: the checking client raises its own load\n");
  const report = await runAutoscale({
    port: options.port,
    directory,
    args: [
      ...["--min", "3", "--max", `${options.max}`, "--busy", `${options.busy}`, "--every", "1"],
      ...["--grow-after", "10", "--shrink-after", "15", "--grow-pause", "10", "--shrink-pause", "20", "--log-level", "warn"],
    ],
    members: { least: 3, raised: options.max },
    rate: RATE,
    keys: KEYS,
    raise: hasBenchmark ? benchmark : own,
    stepMsMax: STEP_MS_MAX,
    say,
  });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : textOf(report));
  const failed = failuresOf(report);
  if (failed + report.staleReads + report.lost > 0 || report.exitCode !== 0) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}

/** Writes and reads of its own keys, as fast as the members that stay answer. */
async function benchmark(...[ports]: Parameters<Raise>): Promise<() => Promise<void>> {
  const running = ports.map((port) => {
    const words = ["-p", `${port}`, "-c", "8", "-n", "1000000000", "-r", "100000", "-d", "100", "-t", "set,get", "-q"];
    return spawn("redis-benchmark", words, { stdio: "ignore" });
  });
  const atExit = (): void => {
    for (const child of running) child.kill("SIGKILL");
  };
  process.once("exit", atExit);
  return async () => {
    const ended = running.map((child) => new Promise((resolve) => child.once("close", resolve)));
    for (const child of running) child.kill("SIGTERM");
    await Promise.all(ended);
    process.removeListener("exit", atExit);
  };
}

async function own(...[, load]: Parameters<Raise>): Promise<() => Promise<void>> {
  load.turnTo(RATE_RAISED);
  return async () => load.turnTo(RATE);
}

function failuresOf(report: AutoscaleReport): number {
  return Object.values(report.failures).reduce((sum, count) => sum + count, 0);
}

function textOf(report: AutoscaleReport): string {
  const lines = [
    ...report.decisions,
    "",
    ...report.members.map(({ atSeconds, names }) => `${`${atSeconds.toFixed(1)} s`.padStart(9)}  ${names}`),
    "",
    `checked requests          ${report.operations.toLocaleString("en-US")}`,
    `acknowledged writes       ${report.acknowledgedWrites.toLocaleString("en-US")}`,
    `failed requests           ${failuresOf(report)} (bar: 0)`,
    ...Object.entries(report.failures).map(([text, count]) => `  ${text}: ${count}`),
    `reads that missed a write ${report.staleReads} (bar: 0)`,
    `acknowledged writes lost  ${report.lost} (bar: 0)`,
    `longest request           ${report.longestMs.toFixed(0)} ms`,
    ...report.examples.map((text) => `  ${text}`),
  ];
  return `${lines.join("\n")}\n`;
}
