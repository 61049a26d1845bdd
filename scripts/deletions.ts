/**
 * `npm run deletions [-- --keys 100000 --kept 20000 --json]`: keys are deleted while a member is dead, which comes back when no hint
 * is kept for it any more. Ends with 1 where one of them is there again, or tombstones stay.
 */
import { Command } from "commander";
import { type DeletionsReport, runDeletions } from "../test/e2e/deletions-run.js";
import { say, wholeNumber, withServers } from "./run-options.js";

const MB = 1_048_576;

const options = new Command("deletions")
  .description("delete keys while a member is dead, and check that they stay deleted and leave nothing behind")
  .option("--keys <keys>", "keys that are deleted", wholeNumber, 100_000)
  .option("--kept <keys>", "keys that are not", wholeNumber, 20_000)
  .option("--json", "print the report for machines", false)
  .parse()
  .opts<{ keys: number; kept: number; json: boolean }>();

await withServers(async (servers) => {
  const { keys, kept } = options;
  // Small memory tables, so that what is removed is on the disk and has to leave it.
  const settings = { "memory-table-bytes": `${2 * MB}` };
  const report = await runDeletions(servers, { keys, kept, settings, say });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : textOf(report));
  if (report.resurrected + report.missing + report.reapedBefore > 0) process.exitCode = 1;
});

function textOf(report: DeletionsReport): string {
  const number = (value: number): string => value.toLocaleString("en-US");
  const lines = [
    `keys deleted while node-c was dead      ${number(report.keys)}`,
    `hints dropped for their age             ${number(report.hintsDropped)}`,
    `tombstones reaped before it was back    ${report.reapedBefore} (bar: 0; ${report.heldUpBy})`,
    `keys resurrected                        ${report.resurrected} (bar: 0)`,
    `other keys missing on any member        ${report.missing} (bar: 0)`,
    `copies of tombstones reaped             ${number(report.reaped)}, all ${(report.reapedMs / 1_000).toFixed(1)} s after its return`,
    `bytes on the three disks                ${megabytes(report.bytesBefore)} before, ${megabytes(report.bytesDeleted)} with tombstones, ${megabytes(report.bytesAfter)} after`,
  ];
  return `${lines.join("\n")}\n`;
}

function megabytes(bytes: number): string {
  return `${(bytes / MB).toFixed(1)} MB`;
}
