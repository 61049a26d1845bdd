/**
 * What `npm start`, `npm test`, `npm run build|check|bench|simulate|failures|changes|deletions|healing|autoscale|data-centres` and `npx kindred` call: brings a clone to the
 * state the verb needs (packages installed, sources compiled), then does it. Depends on nothing but Node.
 *
 * Invariants:
 * - `node_modules` and `dist` change only while this process holds the lock file `dist/.bootstrap-lock`;
 * - each of the two carries a stamp, removed before a change begins and written after it succeeded, so that a stamp that
 *   matches means that there is nothing to do, and no lock is needed to see that.
 *
 * The file keeps to syntax and imports that Node 14 reads (no `??=`, no `node:` specifiers), so that a Node that is too
 * old gets to the line that says so.
 */
import { spawn } from "child_process";
import { createHash, randomBytes } from "crypto";
import * as fs from "fs";
import * as os from "os";
import * as path from "path";
import { fileURLToPath, pathToFileURL } from "url";

const NODE_NEEDED = [20, 19];
const SOURCE_FOLDERS = ["lib", "test", "bench", "scripts"];
const LOCK_POLL_MS = 100;
/** A lock file without readable content is one whose owner died between creating and filling it. */
const LOCK_EMPTY_MS_MAX = 5000;
/** How long the test runner may linger after its last test before we call that a leak. */
const TEST_EXIT_MS_MAX = 15000;
const FORWARDED_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => path.join(root, ...parts);
const lockPath = at("dist", ".bootstrap-lock");
const buildStampPath = at("dist", ".bootstrap-stamp");
const buildInfoPath = at("dist", "tsconfig.tsbuildinfo");
const installStampPath = at("node_modules", ".bootstrap-stamp");

/** An expected failure: its message is all that is printed. */
class Refusal extends Error {}

const verbs = {
  async start(args) {
    await prepare();
    await become("dist/lib/main.js", ["server"].concat(args));
  },
  async run(args) {
    await prepare();
    await become("dist/lib/main.js", args);
  },
  async build() {
    await prepare();
  },
  async check() {
    await prepare();
    if (!(await isClean())) process.exitCode = 1;
  },
  async test(args) {
    await prepare();
    const clean = await isClean();
    const passed = await runTests(args);
    if (!clean || !passed) process.exitCode = 1;
  },
  async bench(args) {
    await prepare();
    await become("dist/bench/main.js", args);
  },
  async simulate(args) {
    await prepare();
    await become("dist/scripts/simulate.js", args);
  },
  async failures(args) {
    await prepare();
    await become("dist/scripts/failures.js", args);
  },
  async changes(args) {
    await prepare();
    await become("dist/scripts/changes.js", args);
  },
  async deletions(args) {
    await prepare();
    await become("dist/scripts/deletions.js", args);
  },
  async healing(args) {
    await prepare();
    await become("dist/scripts/healing.js", args);
  },
  async autoscale(args) {
    await prepare();
    await become("dist/scripts/autoscale.js", args);
  },
  async "data-centres"(args) {
    await prepare();
    await become("dist/scripts/data-centres.js", args);
  },
};

main().catch((error) => {
  console.error(error instanceof Refusal ? error.message : error);
  process.exitCode = 1;
});

async function main() {
  refuseOldNode();
  const verb = process.argv[2];
  if (!Object.hasOwn(verbs, verb)) {
    throw new Refusal(`usage: node scripts/bootstrap.mjs ${Object.keys(verbs).join("|")} [arguments ...]`);
  }
  await verbs[verb](process.argv.slice(3));
}

function refuseOldNode() {
  const found = process.versions.node.split(".").map(Number);
  const isEnough = found[0] > NODE_NEEDED[0] || (found[0] === NODE_NEEDED[0] && found[1] >= NODE_NEEDED[1]);
  if (isEnough) return;
  throw new Refusal(
    `Kindred needs Node.js ${NODE_NEEDED.join(".")} or newer; this is ${process.versions.node} (${process.execPath}).\n` +
      "Install a newer one from https://nodejs.org or with your version manager, then run the command again.",
  );
}

// ---- installing and compiling ------------------------------------------------------------------------------------------

/** Installs and compiles whatever is not up to date. One process at a time works; the others wait for it. */
async function prepare() {
  if (isInstalled() && isBuilt(fingerprintSources())) return;
  fs.mkdirSync(at("dist"), { recursive: true });
  const release = await takeLock();
  try {
    if (!isInstalled()) await install();
    const fingerprint = fingerprintSources();
    if (!isBuilt(fingerprint)) await build(fingerprint);
  } finally {
    release();
  }
}

/** A linked `node_modules` belongs to whoever made the link: installing through it would change another tree. */
function isInstalled() {
  const stat = fs.lstatSync(at("node_modules"), { throwIfNoEntry: false });
  if (stat === undefined) return false;
  return stat.isSymbolicLink() || readOrEmpty(installStampPath) === wantedInstallStamp();
}

/** Packages with binaries differ by platform, so a tree copied to another machine is installed again. */
function wantedInstallStamp() {
  return `${sha256(fs.readFileSync(at("package-lock.json")))} ${process.platform} ${process.arch}\n`;
}

async function install() {
  const stamp = wantedInstallStamp();
  say("Installing packages (npm ci) ...");
  fs.rmSync(installStampPath, { force: true });
  const { command, args } = findNpm();
  // NODE_ENV=production must not leave out the compiler, hence --include=dev.
  const npmArgs = args.concat(["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"]);
  const code = await run(command, npmArgs, { output: 2 });
  if (code !== 0) throw new Refusal(`npm ci failed with exit code ${code}; its messages are above.`);
  fs.mkdirSync(at("node_modules"), { recursive: true });
  fs.writeFileSync(installStampPath, stamp);
}

/** The npm that started us where there is one: PATH need not have any then. */
function findNpm() {
  const own = process.env.npm_execpath || "";
  if (path.basename(own) === "npm-cli.js" && fs.existsSync(own)) return { command: process.execPath, args: [own] };
  return { command: "npm", args: [] };
}

/** Names, sizes and times of all that the compiler reads of ours, as one hash. */
function fingerprintSources() {
  const hash = createHash("sha256");
  hash.update(readOrEmpty(at("package-lock.json")));
  hash.update(readOrEmpty(at("tsconfig.json")));
  for (const file of listSources()) {
    const { mtimeMs, size } = fs.statSync(at(file));
    hash.update(`${file}\0${mtimeMs}\0${size}\n`);
  }
  return `${hash.digest("hex")}\n`;
}

function listSources() {
  return listFiles(SOURCE_FOLDERS, (file) => file.endsWith(".ts") && !file.endsWith(".d.ts"));
}

function outputOf(source) {
  return path.join("dist", source.replace(/\.ts$/, ".js"));
}

function isBuilt(fingerprint) {
  return readOrEmpty(buildStampPath) === fingerprint && listSources().every((source) => fs.existsSync(at(outputOf(source))));
}

async function build(fingerprint) {
  say("Compiling ...");
  fs.rmSync(buildStampPath, { force: true });
  removeOrphanedOutputs();
  // The compiler trusts its record of what it wrote: where an output is missing the record is wrong.
  if (!listSources().every((source) => fs.existsSync(at(outputOf(source))))) fs.rmSync(buildInfoPath, { force: true });
  const code = await run(process.execPath, [at("node_modules", "typescript", "bin", "tsc"), "-p", root], { output: 2 });
  if (code !== 0) throw new Refusal("The sources do not compile; the compiler's messages are above.");
  fs.writeFileSync(buildStampPath, fingerprint);
}

/** A test or module whose source was removed or renamed must not run on from an earlier build. */
function removeOrphanedOutputs() {
  const outputs = listFiles(
    SOURCE_FOLDERS.map((folder) => path.join("dist", folder)),
    (file) => /\.js(\.map)?$/.test(file),
  );
  for (const output of outputs) {
    const source = path.relative("dist", output).replace(/\.js(\.map)?$/, ".ts");
    if (!fs.existsSync(at(source))) fs.rmSync(at(output));
  }
}

// ---- the lock ----------------------------------------------------------------------------------------------------------

/**
 * Waits for the lock file and returns the function that gives it back. A lock names its owner by process id, start time
 * and a random word; that of a dead process is removed.
 */
async function takeLock() {
  const mine = `${process.pid} ${startTimeOf(process.pid)} ${randomBytes(8).toString("hex")}\n`;
  let hasToldWhy = false;
  while (!createExclusively(lockPath, mine)) {
    const theirs = readOrEmpty(lockPath);
    if (isStale(lockPath, theirs)) {
      removeStaleLock(theirs, mine);
      continue;
    }
    if (!hasToldWhy && theirs !== "") {
      say(`Waiting for process ${theirs.split(" ")[0]}, which is installing or compiling here ...`);
      hasToldWhy = true;
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL_MS));
  }
  return () => {
    if (readOrEmpty(lockPath) === mine) fs.rmSync(lockPath, { force: true });
  };
}

/**
 * Two waiters may find the same lock stale. A second file makes them go one at a time, and each looks again before it
 * removes, so that none removes the lock that the other has taken meanwhile.
 */
function removeStaleLock(stale, mine) {
  const guardPath = `${lockPath}-takeover`;
  if (!createExclusively(guardPath, mine)) {
    const guard = readOrEmpty(guardPath);
    if (isStale(guardPath, guard)) fs.rmSync(guardPath, { force: true });
    return;
  }
  try {
    if (readOrEmpty(lockPath) === stale) fs.rmSync(lockPath, { force: true });
  } finally {
    fs.rmSync(guardPath, { force: true });
  }
}

function isStale(file, content) {
  const [pid, startTime] = content.split(" ");
  if (!/^\d+$/.test(pid)) {
    const stat = fs.statSync(file, { throwIfNoEntry: false });
    return stat !== undefined && Date.now() - stat.mtimeMs > LOCK_EMPTY_MS_MAX;
  }
  return !isAlive(Number(pid)) || startTimeOf(Number(pid)) !== startTime;
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}

/** When the process started, in the kernel's ticks since boot: tells a reused id from its earlier owner. "-" if unknown. */
function startTimeOf(pid) {
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  // The second field is the program's name in parentheses and may hold spaces; the start time is field 22.
  const afterName = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return afterName[19] || "-";
}

function createExclusively(file, content) {
  try {
    fs.writeFileSync(file, content, { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  }
}

// ---- checks and tests --------------------------------------------------------------------------------------------------

/** Format, lint, import and seam rules. The types were checked by compiling. */
async function isClean() {
  const biome = [at("node_modules", "@biomejs", "biome", "bin", "biome"), "check", "--error-on-warnings"];
  const codes = [await run(process.execPath, biome), await run(process.execPath, [at("dist", "scripts", "check-imports.js")])];
  if (codes.every((code) => code === 0)) return true;
  console.error("The check failed; its messages are above. `npx biome check --write` repairs what can be repaired alone.");
  return false;
}

/**
 * Runs mocha and ends with the line of its counts. All tests are two runs at once, those that mostly wait for processes (test/e2e)
 * beside those that compute; the output of the former is shown when the latter have ended.
 */
async function runTests(args) {
  const isSpec = (arg) => /\.test\.[jt]s$/.test(arg);
  const options = args.filter((arg) => !isSpec(arg));
  const named = args
    .filter(isSpec)
    .map((arg) => (arg.endsWith(".ts") ? outputOf(path.relative(root, path.resolve(arg))) : arg));
  const all = listFiles(["dist/test"], isSpec);
  const waiting = all.filter((file) => file.startsWith(path.join("dist", "test", "e2e", "")));
  const computing = all.filter((file) => !waiting.includes(file));
  const isSplit = named.length === 0 && waiting.length > 0 && computing.length > 0 && os.availableParallelism() > 1;
  const runs = isSplit
    ? [runMocha("1", options.concat(computing)), runAside("2", options.concat(waiting))]
    : [runMocha("1", options.concat(named.length > 0 ? named : ["dist/test/**/*.test.js"]))];
  await Promise.allSettled(runs);
  const results = await Promise.all(runs);
  for (const { output } of results) process.stdout.write(output);
  const [passed, failed, skipped] = ["passed", "failed", "skipped"].map((name) =>
    results.reduce((sum, result) => sum + result[name], 0),
  );
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  return failed === 0 && results.every(({ isGood }) => isGood);
}

/** As `runMocha`, with the output in the result. */
async function runAside(name, args) {
  const outputPath = at("dist", `.test-output-${process.pid}-${name}.txt`);
  const output = fs.openSync(outputPath, "w");
  try {
    return { ...(await runMocha(name, args, output)), output: fs.readFileSync(outputPath, "utf8") };
  } catch (error) {
    process.stdout.write(readOrEmpty(outputPath));
    throw error;
  } finally {
    fs.closeSync(output);
    fs.rmSync(outputPath, { force: true });
  }
}

/** Runs mocha in a process of its own and resolves with its counts. Throws where it ends without them. */
async function runMocha(name, args, output = 1) {
  const resultPath = at("dist", `.test-result-${process.pid}-${name}.json`);
  const reporter = ["--reporter", at("scripts", "test-reporter.mjs"), "--reporter-option", `resultPath=${resultPath}`];
  const mocha = at("node_modules", "mocha", "bin", "mocha.js");
  let isStuck = false;
  const code = await run(process.execPath, ["--enable-source-maps", mocha].concat(reporter, args), {
    output,
    watch: (child) =>
      watchForLeak(resultPath, () => {
        isStuck = true;
        child.kill("SIGKILL");
      }),
  });
  const text = readOrEmpty(resultPath);
  fs.rmSync(resultPath, { force: true });
  if (isStuck)
    console.error("The test process did not end by itself: a test leaves a timer, socket, worker or process behind.");
  if (text === "") throw new Refusal(`The test runner ended with exit code ${code} before it had a result.`);
  return { ...JSON.parse(text), isGood: code === 0 && !isStuck, output: "" };
}

function watchForLeak(resultPath, onLeak) {
  let seenAtMs = 0;
  const timer = setInterval(() => {
    if (seenAtMs === 0 && fs.existsSync(resultPath)) seenAtMs = Date.now();
    if (seenAtMs > 0 && Date.now() - seenAtMs > TEST_EXIT_MS_MAX) onLeak();
  }, 500);
  return () => clearInterval(timer);
}

// ---- processes and files -----------------------------------------------------------------------------------------------

/**
 * Goes on as the program `file`, in this very process: signals, exit codes and the terminal are the program's own, with
 * nothing in between.
 */
async function become(file, args) {
  if (!fs.existsSync(at(file))) throw new Refusal(`${file} does not exist: this tree has no such program (yet).`);
  process.argv = [process.argv[0], at(file)].concat(args);
  await import(pathToFileURL(at(file)).href);
}

/**
 * Runs a program in the project's root to its end and resolves with its exit code. Its output goes to our stdout, or to
 * stderr (`output` 2) where our own stdout belongs to what comes after. Signals sent to us reach it and then end us.
 * `watch` may look after the child and returns the function that stops it.
 */
function run(command, args, { output = 1, watch = () => () => undefined } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["inherit", output, "inherit"] });
    let received = "";
    const forwards = FORWARDED_SIGNALS.map((signal) => {
      const forward = () => {
        received = signal;
        child.kill(signal);
      };
      process.on(signal, forward);
      return () => process.removeListener(signal, forward);
    });
    const unwatch = watch(child);
    const settle = () => {
      unwatch();
      for (const stop of forwards) stop();
    };
    child.on("error", (error) => {
      settle();
      reject(new Refusal(`${command} could not be started: ${error.message}`));
    });
    child.on("exit", (code, signal) => {
      settle();
      if (received !== "") {
        // The handlers are gone, so this ends us as it would have without them; the lock is stale then and taken over.
        process.kill(process.pid, received);
        return;
      }
      resolve(code === null ? `signal ${signal}` : code);
    });
  });
}

/** Relative paths, sorted, of the files below the folders that `isWanted` accepts. Missing folders are empty. */
function listFiles(folders, isWanted) {
  const found = [];
  const visit = (folder) => {
    if (!fs.existsSync(at(folder))) return;
    for (const entry of fs.readdirSync(at(folder), { withFileTypes: true })) {
      const name = path.join(folder, entry.name);
      if (entry.isDirectory()) visit(name);
      else if (isWanted(name)) found.push(name);
    }
  };
  folders.forEach(visit);
  return found.sort();
}

function readOrEmpty(file) {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Progress goes to stderr: the output of what runs next may be read by a program. */
function say(text) {
  console.error(text);
}
