/**
 * Test scripts: plain text in which commands and their replies alternate, so that one script runs against this server's
 * commands and against a redis-server.
 *
 *     == title of a test, in an empty keyspace [marks]
 *     > SET k "v\x00w"
 *     +OK
 *     clock +1500
 *
 * A reply is one line: its CRLFs are spaces, and bytes outside printable ASCII are \xNN. Marks: `resp3` speaks RESP3,
 * `ours` is about this server only (a redis-server does not run it, or says otherwise). Lines of `#` are comments.
 */
import { readdirSync, readFileSync } from "node:fs";

export type Step =
  | { readonly kind: "command"; readonly args: readonly Buffer[]; readonly reply: string; readonly line: number }
  | { readonly kind: "clock"; readonly byMs: number };

export interface Script {
  readonly title: string;
  readonly file: string;
  readonly protocol: 2 | 3;
  readonly isOurs: boolean;
  readonly steps: readonly Step[];
}

const DIRECTORY = new URL("../../../test/commands/scripts/", import.meta.url);

/** All scripts of the folder. */
export function readScripts(): Script[] {
  return readdirSync(DIRECTORY)
    .filter((file) => file.endsWith(".txt"))
    .sort()
    .flatMap((file) => parseScripts(file, readFileSync(new URL(file, DIRECTORY), "latin1")));
}

/** A reply as scripts write it. */
export function readable(reply: string): string {
  return reply
    .replace(/\r\n$/, "")
    .replaceAll("\r\n", " ")
    .replace(/[^\x20-\x7e]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function parseScripts(file: string, text: string): Script[] {
  const scripts: (Script & { steps: Step[] })[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    if (line.startsWith("#") || line.trim() === "") continue;
    const heading = /^== (.*?)(?: \[([a-z0-9 ]*)\])?$/.exec(line);
    if (heading !== null) {
      const marks = (heading[2] ?? "").split(" ");
      scripts.push({
        title: heading[1]!,
        file,
        protocol: marks.includes("resp3") ? 3 : 2,
        isOurs: marks.includes("ours"),
        steps: [],
      });
      continue;
    }
    const steps = scripts.at(-1)?.steps;
    if (steps === undefined) throw new Error(`${file}: a step before the first title`);
    if (line.startsWith("clock +")) steps.push({ kind: "clock", byMs: Number(line.slice(7)) });
    else if (line.startsWith("> ")) {
      steps.push({ kind: "command", args: parseArgs(line.slice(2)), reply: lines[++at] ?? "", line: at });
    } else throw new Error(`${file}:${at + 1}: neither a command nor a title: ${line}`);
  }
  return scripts;
}

/** Words, or double-quoted text with \xNN and backslashed characters. */
function parseArgs(line: string): Buffer[] {
  return [...line.matchAll(/"((?:\\.|[^"\\])*)"|\S+/g)].map(([word, quoted]) => {
    if (quoted === undefined) return Buffer.from(word, "latin1");
    const plain = quoted.replace(/\\x([0-9a-f]{2})|\\(.)/g, (_escape, hex: string | undefined, other: string) =>
      hex === undefined ? other : String.fromCharCode(Number.parseInt(hex, 16)),
    );
    return Buffer.from(plain, "latin1");
  });
}
