/** What the commands of `npm run` have in common: their numbers, and servers that end with them. */
import { InvalidArgumentError } from "commander";
import { Servers } from "../test/e2e/server-process.js";

/** The value of an option. Throws InvalidArgumentError, which commander shows with the option's name. */
export function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError("It is a whole number from 1 on.");
  return Number(text);
}

/** As `wholeNumber`, several with commas between them. */
export function wholeNumbers(text: string): number[] {
  return text.split(",").map(wholeNumber);
}

/** Progress goes to the standard error, so that a report can be read by machines. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Runs `work` and ends the servers that it started; what they said last is shown where it fails. */
export async function withServers(work: (servers: Servers) => Promise<void>): Promise<void> {
  const servers = new Servers();
  try {
    await work(servers);
  } catch (error) {
    process.stderr.write(servers.lastWords());
    throw error;
  } finally {
    await servers.endAll();
  }
}
