#!/usr/bin/env node
/**
 * The `kindred` program: from arguments and environment to a configuration, a real Host and a Node. The only reader of
 * `process`.
 */
import * as os from "node:os";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { CommanderError } from "commander";
import { type DestinationStream, pino } from "pino";
import pretty from "pino-pretty";
import type { AutoscaleOptions } from "./cli/autoscale-options.js";
import { type RingQuestion, runRing, runStatus, runWhere } from "./cli/inspect-ring.js";
import { runCheck, runInspect } from "./cli/offline.js";
import { buildProgram, type ClusterOptions, type NodeOptions, type RepairOptions, type RestoreOptions } from "./cli/program.js";
import { runAutoscale } from "./cli/run-autoscale.js";
import { runBackup, runRestore } from "./cli/run-backup.js";
import { runLocalCluster } from "./cli/run-cluster.js";
import { type DepartureRun, runLeave, runRemove } from "./cli/run-departure.js";
import { runRepair } from "./cli/run-repair.js";
import { buildConfig, type Config, type ConfigSource, environmentSource, fileSource, flagSource } from "./config.js";
import { messageOf, OperatingError } from "./errors.js";
import type { Clock } from "./host/clock.js";
import { loopBusyMs } from "./host/event-loop.js";
import type { Host } from "./host/host.js";
import { keptAlive } from "./host/keep-alive.js";
import { NodeChildren, reportReady } from "./host/node-children.js";
import { NodeClock } from "./host/node-clock.js";
import { NodeDisk } from "./host/node-disk.js";
import { NodeNetwork } from "./host/node-network.js";
import { descriptorsMax, NodeProcesses } from "./host/node-processes.js";
import { NodePrograms } from "./host/node-programs.js";
import { NodeRandom } from "./host/node-random.js";
import { checkCredentials, type PemFile, type TlsCredentials } from "./host/node-tls-credentials.js";
import { NodeTlsNetwork } from "./host/node-tls-network.js";
import { NodeWorkers } from "./host/node-workers.js";
import { RefusalLog } from "./host/refusal-log.js";
import type { Log } from "./log.js";
import type { Machine } from "./node/facts.js";
import { Node } from "./node/node.js";
import { lsmSettings, storePaths } from "./node/settings.js";

/** Log segments, manifest, lock, standard streams, the thread's own. */
const OTHER_FILES = 64;
const DAY_MS = 86_400_000;
/** A certificate that ends sooner is warned of at the start. */
const EXPIRY_DAYS_MIN = 14;
/** A terminal's Ctrl-C goes to all its processes, and npm passes it on besides: within this time two are one. */
const SIGNAL_ECHO_MS = 500;
const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const disk = new NodeDisk();
const packageJson = JSON.parse(readText(fileURLToPath(new URL("../../package.json", import.meta.url)))) as { version: string };
const isTerminal = process.stdout.isTTY === true;

// Who reads our output may stop early, as `head` does: that ends us too, and is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  onOutputClosed();
});
let onOutputClosed: () => void = () => process.exit(0);

const program = buildProgram(
  packageJson.version,
  {
    server: runServer,
    check: runStoreCheck,
    inspect: (file, options) => runInspect({ disk, output: print, file, ...options }),
    cluster: runCluster,
    status: (options) => runStatus(questionOf(options)),
    ring: (options) => runRing(questionOf(options)),
    where: (key, options) => runWhere(key, questionOf(options)),
    repair: repairCopies,
    backup: takeBackup,
    restore: restoreStore,
    leave: (options) => keptAlive(runLeave(options, departureOf(options))),
    autoscale: (options) => keptAlive(scaleCluster(options)),
    remove: (members, options) => keptAlive(runRemove(members, options, departureOf(options))),
  },
  { out: (text) => process.stdout.write(text), error: (text) => process.stderr.write(text) },
);

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE);
  if (!(error instanceof OperatingError)) throw error;
  process.stderr.write(`kindred: ${error.message}\n`);
  process.exit(error.code === "CONFIG" ? EXIT_USAGE : EXIT_FAILURE);
}

async function runStoreCheck(directory: string, options: { isSalvage: boolean; isJson: boolean }): Promise<void> {
  const progress = progressLine("verifying");
  const isWhole = await runCheck({
    disk,
    processes: new NodeProcesses(),
    output: print,
    onProgress: progress.show,
    directory,
    ...storePaths(directory),
    settings: lsmSettings(buildConfig([])),
    nowMs: new NodeClock().wallMs(),
    ...options,
  });
  if (!isWhole) process.exitCode = EXIT_FAILURE;
}

function questionOf({ host, port, password, database, isJson, tls }: NodeOptions): RingQuestion {
  const read = (path: string | null): string | null => (path === null ? null : readText(path));
  const pems = tls === null ? null : { ca: read(tls.caPath), cert: read(tls.certPath), key: read(tls.keyPath) };
  const hasColours = isTerminal && process.env.NO_COLOR === undefined;
  return {
    target: { host, port, password: password ?? process.env.KINDRED_REQUIREPASS ?? null, database, tls: pems },
    format: isJson ? "json" : "table",
    style: { colours: hasColours ? "ansi" : "none" },
    output: print,
  };
}

function departureOf(options: NodeOptions): DepartureRun {
  const line = statusLine();
  return { ...questionOf(options), clock: new NodeClock(), onProgress: line.show, output: line.end };
}

async function repairCopies(what: RepairOptions, options: NodeOptions): Promise<void> {
  const line = statusLine();
  const run = runRepair(what, {
    ...questionOf(options),
    clock: new NodeClock(),
    onProgress: line.show,
    output: line.end,
  });
  if (!(await keptAlive(run))) process.exitCode = EXIT_FAILURE;
}

async function takeBackup(directory: string, options: NodeOptions): Promise<void> {
  await keptAlive(runBackup({ ...departureOf(options), path: resolve(directory) }));
}

async function restoreStore(backup: string, { directory, ...options }: RestoreOptions): Promise<void> {
  const progress = progressLine("verifying");
  const run = runRestore({
    disk,
    clock: new NodeClock(),
    log: pino({ level: "warn" }, pino.destination({ dest: 2, sync: true })),
    processes: new NodeProcesses(),
    output: print,
    onProgress: progress.show,
    backup: resolve(backup),
    directory: resolve(directory),
    ...options,
  });
  await keptAlive(run.finally(progress.end));
}

async function runCluster(options: ClusterOptions): Promise<void> {
  const outcome = await runLocalCluster({
    ...options,
    // Members write into pipes: of a person's terminal they do not know.
    config: configOf(options.flags, options.configPath).config,
    logFormat: isTerminal ? "pretty" : "auto",
    version: packageJson.version,
    host: { disk, clock: new NodeClock(), network: new NodeNetwork() },
    children: ownChildren(),
    output: print,
    onStart: stopOnSignals,
  });
  process.exit(outcome === "clean" ? 0 : EXIT_FAILURE);
}

async function scaleCluster(options: AutoscaleOptions): Promise<void> {
  const { config } = configOf(options.provider === "local" ? options.flags : new Map(), options.configPath);
  const read = (name: string, setting: string): string | null => {
    // Of a node elsewhere a trusted authority alone may be given, which is no setting of a server.
    const path = options.provider === "local" ? setting : (options.flags.get(name) ?? setting);
    return path === "" ? null : readText(path);
  };
  const pems = {
    ca: read("tls-ca", config.tlsCa),
    cert: read("tls-cert", config.tlsCert),
    key: read("tls-key", config.tlsKey),
  };
  const isPlain = pems.ca === null && pems.cert === null;
  await runAutoscale({
    options,
    config,
    host: { disk, clock: new NodeClock() },
    children: ownChildren(),
    programs: new NodePrograms(),
    credentials: { password: options.password ?? config.requirepass, tls: isPlain ? null : pems },
    output: print,
    onStart: stopOnSignals,
  });
}

/** Of this program. */
function ownChildren(): NodeChildren {
  return new NodeChildren({ executable: process.execPath, prefix: [...process.execArgv, fileURLToPath(import.meta.url)] });
}

/** Whose terminal is closed wants nothing left running; with nohup, or as a service, there is none. */
function stopOnSignals(stop: () => void): void {
  onSignals(["SIGTERM", "SIGINT", ...(isTerminal ? (["SIGHUP"] as const) : [])], stop);
  onOutputClosed = () => {
    // Each further line fails as well, and the second stop would kill.
    onOutputClosed = () => undefined;
    stop();
  };
}

/** The configuration out of all its sources, and the file that was one of them. */
function configOf(flags: ReadonlyMap<string, string>, configPath: string | null): { config: Config; path: string | null } {
  const path = configPath ?? process.env.KINDRED_CONFIG ?? null;
  const sources: ConfigSource[] = [flagSource(flags), environmentSource(process.env)];
  if (path !== null) sources.push(fileSource(path, readText(path)));
  return { config: buildConfig(sources), path };
}

function onSignals(signals: readonly NodeJS.Signals[], handle: (signal: NodeJS.Signals) => void): void {
  const clock = new NodeClock();
  let lastMs = Number.NEGATIVE_INFINITY;
  for (const signal of signals) {
    process.on(signal, () => {
      const nowMs = clock.monotonicMs();
      if (nowMs - lastMs < SIGNAL_ECHO_MS) return;
      lastMs = nowMs;
      handle(signal);
    });
  }
}

async function runServer(flags: ReadonlyMap<string, string>, configPath: string | null): Promise<void> {
  const { config: wanted, path } = configOf(flags, configPath);
  const log = buildLog(wanted);
  const config = { ...wanted, maxclients: clientsThatFit(wanted, log) };
  const clock = new NodeClock();
  const workers = new NodeWorkers({ heapBytesMax: config.workerHeapBytes, rateBytes: config.compactionRateBytes });
  const networks = buildNetworks(config, { log, clock });
  const host: Host = { clock, disk, ...networks, random: new NodeRandom(), workers };
  const stopping = new AbortController();
  let stop = (signal: string): void => {
    if (stopping.signal.aborted) process.exit(EXIT_FAILURE);
    log.info({ signal }, "stopping before it was ready");
    stopping.abort();
  };
  onSignals(["SIGTERM", "SIGINT"], (signal) => stop(signal));
  const progress = progressLine("replaying the log");
  const starting = Node.start({
    host,
    processes: new NodeProcesses(),
    config,
    log,
    machine: machineFacts(path ?? ""),
    requestStop: () => stop("SHUTDOWN"),
    stopping: stopping.signal,
    onProgress: progress.show,
  });
  const node = await starting.catch((error: unknown) => {
    // Somebody wished it so.
    if (error instanceof OperatingError && error.code === "CLOSED" && stopping.signal.aborted) process.exit(0);
    throw error;
  });
  progress.end();
  let isStopping = false;
  stop = (signal) => {
    // A second signal means that the person does not want to wait.
    if (isStopping) process.exit(EXIT_FAILURE);
    isStopping = true;
    log.info({ signal }, "stopping");
    node.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ error: messageOf(error) }, "the stop failed; the next start recovers from the log");
        process.exit(EXIT_FAILURE);
      },
    );
  };
  if (isTerminal) print(banner(config, node));
  log.info({ port: node.port, bind: config.bind, dir: config.dir, lastStop: node.lastStop }, "ready to accept connections");
  reportReady(process);
}

/** In the clear, or over TLS where a certificate is set. Peers tell of refused links themselves. */
function buildNetworks(config: Config, { log, clock }: { log: Log; clock: Clock }): Pick<Host, "network" | "peerNetwork"> {
  const refusals = new RefusalLog({ log, clock });
  const onRefused = (remoteAddress: string, why: string): void => refusals.note(remoteAddress, why);
  if (config.tlsCert === "") return { network: new NodeNetwork("probe", onRefused), peerNetwork: new NodeNetwork() };
  const credentials = readCredentials(config);
  const days = Math.floor((credentials.validToMs - clock.wallMs()) / DAY_MS);
  const fields = { certificate: config.tlsCert, until: new Date(credentials.validToMs).toISOString() };
  if (days < 0) log.warn(fields, "the certificate in tls-cert has expired: who verifies it refuses this node");
  else if (days < EXPIRY_DAYS_MIN) log.warn(fields, `the certificate in tls-cert expires in ${days} days`);
  const asks = credentials.authority === null ? "no" : "yes";
  return {
    network: new NodeTlsNetwork({ credentials, asks: config.tlsAuthClients, versionMin: "TLSv1.2", onRefused }),
    peerNetwork: new NodeTlsNetwork({ credentials, asks, versionMin: "TLSv1.3" }),
  };
}

function readCredentials(config: Config): TlsCredentials {
  const read = (setting: string, path: string): PemFile => {
    try {
      return { path, pem: readText(path) };
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      throw new OperatingError("CONFIG", `${setting}: ${error.message}`, { cause: error });
    }
  };
  return checkCredentials({
    cert: read("tls-cert", config.tlsCert),
    key: read("tls-key", config.tlsKey),
    ca: config.tlsCa === "" ? null : read("tls-ca", config.tlsCa),
  });
}

/** As many clients as there are descriptors for, beside those of the engine and a few more. */
function clientsThatFit({ maxclients, maxOpenFiles }: Config, log: Log): number {
  const descriptors = descriptorsMax();
  const own = maxOpenFiles + OTHER_FILES;
  if (descriptors === null || descriptors >= maxclients + own) return maxclients;
  if (descriptors <= own) {
    throw new OperatingError(
      "CONFIG",
      `this process may have ${descriptors} files open, and needs more than ${own} (max-open-files and ${OTHER_FILES} more): raise the limit (ulimit -n) or lower max-open-files`,
    );
  }
  const fitting = descriptors - own;
  log.warn({ descriptors, maxclients, reduced: fitting }, "maxclients is lowered to what the limit on open files allows");
  return fitting;
}

function banner(config: Config, node: Node): string {
  const password = config.requirepass === "" ? "" : " -a <password>";
  const trust = config.tlsCa === "" ? " --cacert <authority>" : ` --cacert ${config.tlsCa}`;
  const tls =
    config.tlsCert === "" ? "" : ` --tls${trust}${config.tlsAuthClients === "yes" ? " --cert <file> --key <file>" : ""}`;
  const recovered =
    node.lastStop === "unclean" ? "\n  recovered   after a stop that was not clean; nothing synced was lost" : "";
  return `
  Kindred ${packageJson.version}
  address     ${config.bind}:${node.port}
  data        ${config.dir}   (appendfsync ${config.appendfsync})${recovered}
  connect     redis-cli -h ${config.bind} -p ${node.port}${tls}${password}
  stop        Ctrl-C
`;
}

function readText(path: string): string {
  const file = disk.open(path);
  if (file === null) throw new OperatingError("CONFIG", `there is no file ${path}`);
  try {
    const bytes = Buffer.alloc(file.size);
    return bytes.toString("utf8", 0, file.readNow(0, bytes, 0, bytes.length));
  } finally {
    file.close();
  }
}

function buildLog(config: Config): Log {
  const isPretty = config.logFormat === "pretty" || (config.logFormat === "auto" && isTerminal);
  const stream: DestinationStream = isPretty
    ? pretty({ colorize: isTerminal, ignore: "pid,hostname", translateTime: "HH:MM:ss.l", sync: true })
    : pino.destination({ sync: true });
  return pino({ level: config.logLevel }, stream);
}

/** A line on the terminal that is rewritten while long work goes on. */
function progressLine(what: string): { show(done: number, total: number): void; end(): void } {
  let shown = -1;
  return {
    show(done, total) {
      if (total === 0) return;
      const percent = Math.floor((100 * done) / total);
      if (!isTerminal || percent === shown) return;
      shown = percent;
      process.stdout.write(`\r  ${what}: ${percent}%`);
    },
    end() {
      if (shown >= 0) process.stdout.write("\n");
    },
  };
}

/**
 * One line of a terminal that is written again and again, and what takes its place at the end. Where there is none, what is waited for
 * is a line of standard error, once.
 */
function statusLine(): { show(text: string): void; end(text: string): void } {
  const CLEARED = "\r\x1b[K";
  let shown = "";
  return {
    show: (text) => {
      if (isTerminal) return void process.stdout.write(`${CLEARED}  ${text}`);
      if (text !== shown && text.startsWith("waiting for ")) process.stderr.write(`${text}\n`);
      shown = text;
    },
    end: (text) => print(isTerminal ? `${CLEARED}${text}` : text),
  };
}

/** The first address of this machine that is not for itself alone: of IPv4 if there is one. */
function outerAddress(): string {
  const all = Object.values(os.networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const outer = all.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  return (outer.find(({ family }) => family === "IPv4") ?? outer[0])?.address ?? "";
}

function machineFacts(configFile: string): Machine {
  let usedPeak = 0;
  return {
    hostName: os.hostname(),
    address: outerAddress(),
    version: packageJson.version,
    operatingSystem: `${os.type()} ${os.release()} ${os.arch()}`,
    runtimeVersion: process.version,
    processId: process.pid,
    currentDirectory: process.cwd(),
    executable: process.execPath,
    configFile,
    memory() {
      const { rss, heapUsed, external } = process.memoryUsage();
      // Shared memory counts as external from the start, as resident only once it is used.
      const used = Math.min(heapUsed + external, rss);
      usedPeak = Math.max(usedPeak, used);
      return { used, usedPeak, resident: rss, total: os.totalmem() };
    },
    processor() {
      const { user, system } = process.cpuUsage();
      return { userSeconds: user / 1e6, systemSeconds: system / 1e6 };
    },
    busyMs: loopBusyMs,
  };
}

function print(text: string): void {
  process.stdout.write(text);
}
