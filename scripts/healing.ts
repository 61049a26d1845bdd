/**
 * `npm run healing [-- --keys 1000000 --differences 100,10000 --quiet 60 --json]`: a member's disk is lost and the member replaced, then
 * keys are made to differ. Ends with 1 where a copy is missing, or anything is repaired when all are equal.
 */
import { Command } from "commander";
import { type HealingReport, runHealing } from "../test/e2e/healing-run.js";
import { say, wholeNumber, wholeNumbers, withServers } from "./run-options.js";

const MB = 1_048_576;

const options = new Command("healing")
  .description("replace a member whose disk is lost, and make keys differ: how long until all is well again, and what is sent")
  .option("--keys <keys>", "keys in all", wholeNumber, 1_000_000)
  .option("--differences <keys,...>", "how many of them are made to differ, each time", wholeNumbers, [100, 10_000])
  .option("--quiet <seconds>", "how long nothing may be repaired in the end", wholeNumber, 60)
  .option("--json", "print the report for machines", false)
  .parse()
  .opts<{ keys: number; differences: number[]; quiet: number; json: boolean }>();

await withServers(async (servers) => {
  const { keys, differences, quiet } = options;
  const report = await runHealing(servers, { keys, differences, quietMs: 1_000 * quiet, say });
  process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : textOf(report));
  if (report.replacement.copies !== keys || report.quietRepairs > 0) process.exitCode = 1;
});

function textOf({ keys, replacement, convergences, quietMs, quietBytes, quietRepairs }: HealingReport): string {
  const number = (value: number): string => value.toLocaleString("en-US");
  const lines = [
    `keys                                    ${number(keys)}`,
    `member replaced: healthy                ${seconds(replacement.healthyMs)} after the start of the new one`,
    `  of which it read its slots            ${seconds(replacement.transferMs)}, ${(replacement.bytes / MB).toFixed(1)} MB`,
    `  keys that it has                      ${number(replacement.copies)} (bar: ${number(keys)})`,
    ...convergences.map(({ keys: count, how, equalMs, bytes }) => {
      const what = `${number(count)} keys differ after a ${how}: equal`.padEnd(40);
      return `${what}${seconds(equalMs)} after the start of who lacked them, ${number(bytes)} bytes`;
    }),
    `${`${seconds(quietMs)} once all were equal`.padEnd(39)} ${quietRepairs} repairs (bar: 0), ${number(quietBytes)} bytes`,
  ];
  return `${lines.join("\n")}\n`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
