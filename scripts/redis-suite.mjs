/**
 * Runs parts of Redis's own test suite (the `tests` folder and `runtest` of a Redis 7.0 source tree, which is never part of
 * this project) against the server of this tree, and prints what passed, what failed and what was left out, unit by unit.
 *
 *   node scripts/redis-suite.mjs --suite DIR [--skipfile FILE] [--units a,b] [--tags=LIST] [--debug] [--members N] [--spawn]
 *
 * Without --spawn the suite runs in its external mode: each unit against a freshly started server with an empty directory, or
 * against the first of as many members of a ring.
 * With --spawn the suite starts servers itself; the programs it expects in `src` are put into DIR then, so give it a copy.
 * Needs tclsh, and for --spawn redis-cli and redis-benchmark. Ends with code 1 when a test failed or none ran.
 */
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, stripVTControlCharacters } from "node:util";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** The gate: its first eight are the core, of which every test has to pass. */
const EXTERNAL_UNITS = [
  "unit/type/string",
  "unit/type/incr",
  "unit/keyspace",
  "unit/expire",
  "unit/scan",
  "unit/protocol",
  "unit/quit",
  "unit/info-command",
  "unit/introspection",
  "unit/introspection-2",
  "unit/multi",
  "unit/pubsub",
  "unit/slowlog",
  "unit/latency-monitor",
  "unit/other",
];
const CORE_UNITS = new Set(EXTERNAL_UNITS.slice(0, 8));
const SPAWNED_UNITS = ["unit/auth", "unit/limits", "unit/obuf-limits", "integration/redis-cli", "integration/redis-benchmark"];

/** What a store without replication, snapshots, eviction and forked children leaves out; the slow tests take minutes. */
const EXTERNAL_TAGS =
  "-needs:repl -needs:save -needs:config-maxmemory -needs:config-resetstat -needs:pfdebug -needs:reset -slow";
const SPAWNED_TAGS = "-needs:repl -needs:debug -slow";

const SPAWN_BASE_PORT = 27_111;
const START_MS_MAX = 15_000;
const UNIT_MS_MAX = 240_000;
/** Some failures print whole values. */
const REASON_LENGTH_MAX = 240;
/** Programs that we put into the suite's folder say so, so that nothing else is overwritten. */
const SHIM_MARK = "# put here by Kindred's scripts/redis-suite.mjs";

const { values: options } = parseArgs({
  options: {
    suite: { type: "string" },
    skipfile: { type: "string" },
    units: { type: "string" },
    tags: { type: "string" },
    debug: { type: "boolean", default: false },
    members: { type: "string", default: "1" },
    spawn: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (options.help || options.suite === undefined) {
  console.error(
    "usage: node scripts/redis-suite.mjs --suite DIR [--skipfile FILE] [--units unit/expire,unit/scan] [--tags=LIST] [--debug] [--members N] [--spawn]\n\n" +
      "  --suite DIR      unpacked source of Redis 7.0; with --spawn a copy, for programs are put into its src folder\n" +
      "  --skipfile FILE  names of tests to leave out, one a line\n" +
      "  --units LIST     instead of the usual ones\n" +
      "  --tags=LIST      groups of tests in the suite's words, such as '-needs:repl -slow', instead of the usual ones\n" +
      "  --debug          allow DEBUG, and run the tests that need it\n" +
      "  --members N      run against one of so many members of a ring with three copies of each key\n" +
      "  --spawn          let the suite start the servers",
  );
  process.exit(options.help ? 0 : 2);
}

const suite = path.resolve(options.suite);
if (!fs.existsSync(path.join(suite, "tests/test_helper.tcl"))) {
  process.stderr.write(`--suite ${suite}: there is no tests/test_helper.tcl; name the folder of Redis 7.0's unpacked source\n`);
  process.exit(2);
}
const members = Number(options.members);
if (!Number.isInteger(members) || members < 1 || (options.spawn && members > 1)) {
  process.stderr.write("--members: a whole number from 1 on, and not with --spawn\n");
  process.exit(2);
}
const skipfile = options.skipfile === undefined ? [] : ["--skipfile", path.resolve(options.skipfile)];

await build();
const units = options.units?.split(",") ?? (options.spawn ? SPAWNED_UNITS : EXTERNAL_UNITS);
if (options.spawn) putPrograms();
const results = [];
for (const unit of units) {
  const result = options.spawn ? await runSpawned(unit) : await runExternal(unit);
  results.push(result);
  printUnit(result);
}
printTotals(results);
if (results.some(({ failures, passed }) => failures.length > 0 || passed === 0)) process.exitCode = 1;

// ---- running -----------------------------------------------------------------------------------------------------------

async function build() {
  const code = await new Promise((resolve, reject) => {
    const compiler = spawn(process.execPath, [path.join(root, "scripts/bootstrap.mjs"), "build"], {
      cwd: root,
      stdio: "inherit",
    });
    compiler.once("error", reject).once("close", resolve);
  });
  if (code !== 0) process.exit(1);
}

async function runExternal(unit) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "kindred-suite-"));
  const servers = [];
  try {
    for (let at = 0; at < members; at++) servers.push(await startServer(path.join(directory, `${at}`), servers[0]?.peerPort));
    const { port } = servers[0];
    // One exception ends a run; where not everything is expected to pass, the tests behind it count too.
    const durable = CORE_UNITS.has(unit) && !options.debug ? [] : ["--durable"];
    const tags = options.tags ?? (options.debug ? EXTERNAL_TAGS : `-needs:debug ${EXTERNAL_TAGS}`);
    return await runSuite(unit, [
      ...["--host", "127.0.0.1", "--port", String(port), "--singledb", "--ignore-encoding", "--ignore-digest", "--no-latency"],
      ...["--tags", tags, ...durable],
    ]);
  } finally {
    for (const { process } of servers) process.kill("SIGTERM");
    await Promise.all(servers.map(({ ended }) => ended));
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** Resolves when it listens: as a ring of one, or, with the peer port of another, as a member of that one's ring. */
async function startServer(directory, seedPort) {
  const port = await freePort();
  const peerPort = await freePort();
  const settings = ["--port", String(port), "--peer-port", String(peerPort), "--dir", directory, "--max-pair-bytes", "512mb"];
  if (members > 1) settings.push("--host", `host-${port}`);
  if (seedPort !== undefined) settings.push("--seeds", `127.0.0.1:${seedPort}`);
  if (options.debug) settings.push("--enable-debug-command", "local");
  const server = spawn(process.execPath, [path.join(root, "dist/lib/main.js"), "server", ...settings], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, KINDRED_LOG_LEVEL: "error" },
  });
  const ended = new Promise((resolve) => server.once("close", resolve));
  // Who joins listens once it is a member.
  await untilListening(port);
  return { port, peerPort, process: server, ended };
}

function runSpawned(unit) {
  const ports = ["--baseport", String(SPAWN_BASE_PORT), "--portcount", "800"];
  const tags = options.tags ?? (options.debug ? SPAWNED_TAGS.replace("-needs:debug ", "") : SPAWNED_TAGS);
  return runSuite(unit, [...ports, "--clients", "1", "--durable", "--tags", tags]);
}

/** Runs one unit; the suite's output goes through `read`. */
function runSuite(unit, args) {
  return new Promise((resolve, reject) => {
    const runner = spawn("tclsh", ["tests/test_helper.tcl", "--timeout", "60", ...args, ...skipfile, "--single", unit], {
      cwd: suite,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = [];
    runner.stdout.on("data", (chunk) => chunks.push(chunk));
    runner.stderr.on("data", (chunk) => chunks.push(chunk));
    const timer = setTimeout(() => runner.kill("SIGKILL"), UNIT_MS_MAX);
    runner.once("error", reject);
    runner.once("close", (_code, signal) => {
      clearTimeout(timer);
      resolve(read(unit, Buffer.concat(chunks).toString("latin1"), signal === "SIGKILL" ? "timed out" : null));
    });
  });
}

/** What the output of one unit says. An exception ends a run, so it is a failure whatever passed before. */
function read(unit, output, trouble) {
  const result = { unit, passed: 0, skipped: 0, ignored: 0, failures: [] };
  if (trouble !== null) result.failures.push({ name: trouble, reason: "" });
  const lines = stripVTControlCharacters(output).split("\n");
  for (const [at, line] of lines.entries()) {
    const [, mark, rest = ""] = /^\[(ok|err|skip|ignore|exception|timeout)\]:? ?(.*)$/.exec(line) ?? [];
    if (mark === "ok") result.passed++;
    else if (mark === "skip") result.skipped++;
    else if (mark === "ignore") result.ignored++;
    else if (mark !== undefined) {
      // Of an error that is not an assertion's the suite cuts the first ten characters off.
      const next = (lines[at + 1] ?? "").trim().slice(0, REASON_LENGTH_MAX);
      const reason = next === "" || /^[A-Z]/.test(next) ? next : `... ${next}`;
      result.failures.push({ name: rest.replace(/ in tests\/\S+$/, "").slice(0, REASON_LENGTH_MAX) || mark, reason });
    }
  }
  return result;
}

// ---- printing ----------------------------------------------------------------------------------------------------------

function printUnit({ unit, passed, skipped, ignored, failures }) {
  const counts = [passed, failures.length, skipped, ignored].map((count) => String(count).padStart(5));
  if (results.length === 1) console.log(`${"unit".padEnd(30)}   ok  err skip ignored`);
  console.log(`${unit.padEnd(30)}${counts.join("")}`);
  for (const { name, reason } of failures) console.log(`    failed: ${name}${reason === "" ? "" : `\n            ${reason}`}`);
}

function printTotals(all) {
  const sum = (pick) => String(all.reduce((total, result) => total + pick(result), 0)).padStart(5);
  const counts = [(r) => r.passed, (r) => r.failures.length, (r) => r.skipped, (r) => r.ignored].map(sum);
  console.log(`${"all".padEnd(30)}${counts.join("")}`);
  const core = all.filter(({ unit }) => CORE_UNITS.has(unit));
  if (core.length > 0) console.log(`core: ${core.reduce((total, { passed }) => total + passed, 0)} passed`);
}

// ---- spawn mode --------------------------------------------------------------------------------------------------------

/** Puts what the suite calls into its `src`: our server behind a reader of its configuration, and the clients found here. */
function putPrograms() {
  const starter = path.join(root, "scripts/redis-suite-server.mjs");
  putProgram("redis-server", `exec ${quoted(process.execPath)} ${quoted(starter)} "$@"`);
  for (const client of ["redis-cli", "redis-benchmark"]) putProgram(client, `exec ${quoted(onPath(client))} "$@"`);
}

function putProgram(name, command) {
  const target = path.join(suite, "src", name);
  if (fs.existsSync(target) && !fs.readFileSync(target, "latin1").includes(SHIM_MARK)) {
    throw new Error(`${target} is not ours; give --suite a copy of the sources that nothing was built in`);
  }
  fs.writeFileSync(target, `#!/bin/sh\n${SHIM_MARK}\n${command}\n`, { mode: 0o755 });
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function onPath(program) {
  for (const directory of (process.env.PATH ?? "").split(path.delimiter)) {
    const candidate = path.join(directory, program);
    if (fs.existsSync(candidate)) return candidate;
  }
  throw new Error(`${program} is not installed (redis-tools)`);
}

// ---- ports -------------------------------------------------------------------------------------------------------------

function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

async function untilListening(port) {
  const until = Date.now() + START_MS_MAX;
  while (!(await isListening(port))) {
    if (Date.now() > until) throw new Error(`the server did not listen on port ${port} in ${START_MS_MAX} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function isListening(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(socket.destroy() && true)).once("error", () => resolve(false));
  });
}
