/**
 * What stands behind `src/redis-server` while Redis's test suite starts servers itself (scripts/redis-suite.mjs --spawn):
 * reads the configuration file that the suite wrote, and becomes a Kindred server with what of it means something here.
 * The suite waits for the two lines that Redis logs, and ends the process whose id it started; so the server runs in this
 * process.
 */
import * as fs from "node:fs";
import * as path from "node:path";

/** Directives that are settings here too; all others are passed over. */
const KNOWN = new Set([
  "port",
  "requirepass",
  "protected-mode",
  "maxclients",
  "timeout",
  "appendfsync",
  "client-output-buffer-limit",
  "client-query-buffer-limit",
  "proto-max-bulk-len",
  "slowlog-log-slower-than",
  "slowlog-max-len",
  "latency-monitor-threshold",
  "enable-debug-command",
]);

const [configFile, ...overrides] = process.argv.slice(2);
const directives = new Map();
for (const line of fs.readFileSync(configFile, "latin1").split("\n")) note(line);
// `--name value ...`, as Redis takes them after the file.
for (const override of overrides.join(" ").split(/(?:^|\s)--/)) note(override);

const flags = [];
for (const [name, value] of directives) {
  if (KNOWN.has(name)) flags.push(`--${name}`, value);
}
const bind = directives.get("bind")?.split(/\s+/)[0];
if (bind !== undefined) flags.push("--bind", bind);
// The suite keeps files of its own in the directory.
flags.push("--dir", path.join(directives.get("dir") ?? ".", "kindred"), "--max-pair-bytes", "512mb");

console.log(`Kindred for Redis's test suite, PID: ${process.pid}`);
const main = new URL("../dist/lib/main.js", import.meta.url);
process.argv = [process.argv[0], main.pathname, "server", ...flags];
// Resolves when the server listens.
await import(main.href);
console.log("Ready to accept connections");

function note(line) {
  const [, name, rest] = /^\s*([^\s#]+)\s+(.*?)\s*$/.exec(line) ?? [];
  if (name === undefined) return;
  const [, , quoted] = /^(["'])(.*)\1$/.exec(rest) ?? [];
  directives.set(name.toLowerCase(), quoted ?? rest);
}
