/**
 * `npm run failures [-- --mode kill,stop,partition --seconds 60 --rate 2000 --json]`: three members, two copies of three for
 * each answer, a load on two of them, and the third fails and comes back. Ends with 1 where a bar is missed.
 */
import { Command, InvalidArgumentError } from "commander";
import { FAILURE_MODES, type FailureMode, type FailureReport, runFailure } from "../test/e2e/failure-run.js";
import { say, wholeNumber, withServers } from "./run-options.js";

interface Options {
  readonly mode: readonly FailureMode[];
  readonly seconds: number;
  readonly rate: number;
  readonly keys: number;
  readonly seed: number;
  readonly appendfsync: string;
  readonly json: boolean;
}

interface Line {
  readonly what: string;
  readonly value: string;
  readonly bar: string;
  readonly isMet: boolean;
}

const LONGEST_MS_MAX = 500;

const options = new Command("failures")
  .description("fail one of three members under load, and check what clients were told")
  .option("--mode <modes>", `of ${FAILURE_MODES.join(", ")}, separated by commas`, modes, FAILURE_MODES)
  .option("--seconds <seconds>", "how long the load lasts; the member is away from 25% to 58% of it", wholeNumber, 60)
  .option("--rate <requests>", "requests a second", wholeNumber, 2_000)
  .option("--keys <keys>", "keys that the load is spread over", wholeNumber, 60_000)
  .option("--seed <seed>", "of the load", wholeNumber, 1)
  .option("--appendfsync <policy>", "of the members", "everysec")
  .option("--json", "print the reports for machines", false)
  .parse()
  .opts<Options>();

const reports: FailureReport[] = [];
for (const mode of options.mode) {
  const { seconds, rate, keys, seed, appendfsync } = options;
  const sayOf = (line: string): void => say(`${mode}: ${line}`);
  await withServers(async (servers) => {
    reports.push(await runFailure(servers, { mode, seconds, rate, keys, seed, settings: { appendfsync }, say: sayOf }));
  });
}
const judged = reports.map((report) => ({ report, lines: linesOf(report) }));
if (options.json) {
  const machine = judged.map(({ report, lines }) => ({ ...report, isMet: lines.every(({ isMet }) => isMet) }));
  process.stdout.write(`${JSON.stringify(machine, null, 2)}\n`);
} else for (const { report, lines } of judged) process.stdout.write(table(report, lines));
if (!judged.every(({ lines }) => lines.every(({ isMet }) => isMet))) process.exitCode = 1;

function linesOf(report: FailureReport): readonly Line[] {
  const number = (value: number): string => value.toLocaleString("en-US", { maximumFractionDigits: value < 100 ? 1 : 0 });
  const fact = (what: string, value: string): Line => ({ what, value, bar: "", isMet: true });
  const none = (what: string, value: number): Line => ({ what, value: number(value), bar: "0", isMet: value === 0 });
  const { longest, siblingsFound, siblingsExpected, caughtUpMs } = report;
  return [
    fact("requests", number(report.operations)),
    fact("acknowledged writes", number(report.acknowledgedWrites)),
    none("failed requests", report.failed),
    ...Object.entries(report.failures).map(([text, count]) => fact(`  ${text}`, number(count))),
    {
      what: `longest request, ms: ${longest.what}, after ${(longest.afterMs / 1_000).toFixed(2)} s`,
      value: number(longest.ms),
      bar: `< ${LONGEST_MS_MAX}`,
      isMet: longest.ms < LONGEST_MS_MAX,
    },
    fact("p50, p99, p99.9, ms", [report.p50Ms, report.p99Ms, report.p999Ms].map((ms) => ms.toFixed(1)).join("  ")),
    fact("longest stall of the load itself, ms", number(report.loadStallMs)),
    none("reads that missed an acknowledged write", report.staleReads),
    none("acknowledged writes lost", report.lost),
    {
      what: "keys with siblings",
      value: number(siblingsFound),
      bar: number(siblingsExpected),
      isMet: siblingsFound === siblingsExpected,
    },
    fact("keys written while it was away", number(report.missedKeys)),
    fact("hints for it when it was back", number(report.hintsAtReturn)),
    ...(report.restartMs === null ? [] : [fact("its start, ms", number(report.restartMs))]),
    {
      what: "until it held all that it missed, ms",
      value: caughtUpMs === null ? "not in time" : number(caughtUpMs),
      bar: "ever",
      isMet: caughtUpMs !== null,
    },
    none("keys missing with one more member killed", report.missingAfterSecondKill),
  ];
}

function table({ mode, seconds, rate, examples }: FailureReport, lines: readonly Line[]): string {
  const widths = [0, 1, 2].map((column) => Math.max(...lines.map((line) => cellsOf(line)[column]!.length)));
  const text = lines.map((line) => {
    const [what, value, bar] = cellsOf(line) as [string, string, string];
    const row = `${what.padEnd(widths[0]!)}  ${value.padStart(widths[1]!)}  ${bar.padStart(widths[2]!)}`;
    return `  ${row}${line.isMet ? "" : "  missed"}`.trimEnd();
  });
  const title = `${mode}: three members, R=W=2 of N=3, ${rate} requests a second for ${seconds} s, after 3 s to warm up`;
  return `\n${[title, ...text, ...examples.map((example) => `  ! ${example}`)].join("\n")}\n`;
}

function cellsOf({ what, value, bar }: Line): readonly string[] {
  return [what, value, bar];
}

function modes(text: string): readonly FailureMode[] {
  return text.split(",").map((word) => {
    const mode = FAILURE_MODES.find((known) => known === word);
    if (mode === undefined) throw new InvalidArgumentError(`there is ${FAILURE_MODES.join(", ")}`);
    return mode;
  });
}
