/**
 * `npm run changes [-- --rate 2000 --keys 60000 --rest 5 --json]`: members join, die, leave and are replaced under load, and what
 * clients were told. Ends with 1 where a bar is missed.
 */
import { Command } from "commander";
import { type ChangesReport, runChanges } from "../test/e2e/changes-run.js";
import { say, wholeNumber, withServers } from "./run-options.js";

const LONGEST_MS_MAX = 500;

const options = new Command("changes")
  .description("have members come and go under load, and check what clients were told and where the data is")
  .option("--rate <requests>", "requests a second", wholeNumber, 2_000)
  .option("--keys <keys>", "keys that the load is spread over", wholeNumber, 60_000)
  .option("--rest <seconds>", "between two changes", wholeNumber, 5)
  .option("--json", "print the report for machines", false)
  .parse()
  .opts<{ rate: number; keys: number; rest: number; json: boolean }>();

await withServers(async (servers) => {
  const report = await runChanges(servers, {
    rate: options.rate,
    keys: options.keys,
    restMs: 1_000 * options.rest,
    say,
  });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : textOf(report));
  const isMet = report.failed + report.staleReads + report.lost === 0 && report.longestMs < LONGEST_MS_MAX;
  if (!isMet || report.copies !== 3 * report.keys) process.exitCode = 1;
});

function textOf(report: ChangesReport): string {
  const lines = [
    `requests                              ${report.operations.toLocaleString("en-US")}`,
    `acknowledged writes                   ${report.acknowledgedWrites.toLocaleString("en-US")}`,
    `failed requests                       ${report.failed} (bar: 0)`,
    ...Object.entries(report.failures).map(([text, count]) => `  ${text}: ${count}`),
    `longest request                       ${report.longestMs.toFixed(1)} ms (bar: < ${LONGEST_MS_MAX}): ${report.longest}`,
    `STRICT reads that missed a write      ${report.staleReads} (bar: 0)`,
    `SLOPPY ones, of which it is allowed   ${report.sloppyStaleReads}`,
    `acknowledged writes lost              ${report.lost} (bar: 0)`,
    `copies in the end                     ${report.copies.toLocaleString("en-US")} (bar: ${(3 * report.keys).toLocaleString("en-US")})`,
    ...report.examples.map((text) => `  ${text}`),
    "",
    "change                                   took    moved   ideal  longest",
    ...report.steps.map(({ what, tookMs, moved, ideal, longestMs }) => {
      const numbers = [`${(tookMs / 1_000).toFixed(1)} s`, percent(moved), percent(ideal), `${longestMs.toFixed(0)} ms`];
      return `${what.padEnd(36)} ${numbers.map((text) => text.padStart(8)).join("")}`;
    }),
  ];
  return `${lines.join("\n")}\n`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}
