/** Which members `kindred cluster` runs, and with what arguments. Pure. */
import { OperatingError } from "../errors.js";

export interface ClusterRequest {
  /** 1 to `MEMBERS_MAX`. */
  readonly nodes: number;
  /** How many of them, the first ones, the others are told of; all unless it is given. */
  readonly seeds?: number;
  /** For clients of the first member; the others follow. */
  readonly port: number;
  /** For the peers of the first member; the others follow. Null: `PEER_PORT_OFFSET` above the ports of clients. */
  readonly peerPort: number | null;
  readonly directory: string;
  /** Where members listen: what they are told to reach each other by. */
  readonly bind: string;
  /** Settings that each of them gets, by name. */
  readonly settings: ReadonlyMap<string, string>;
  readonly configPath: string | null;
  /** Which members have data of an earlier run. */
  readonly existing: ReadonlySet<string>;
  /** Names of the settings that this version has: others are not passed. */
  readonly known: ReadonlySet<string>;
}

export interface MemberPlan {
  readonly name: string;
  readonly port: number;
  readonly peerPort: number;
  readonly directory: string;
  /** Of `kindred`. */
  readonly args: readonly string[];
  /** The others wait until it is ready: it founds the ring that they join. */
  readonly isFounder: boolean;
}

export const MEMBERS_MAX = 100;
export const PEER_PORT_OFFSET = 10_000;
const PORT_MAX = 65_535;
const LETTERS = 26;
/** What each member gets a value of its own for: `kindred cluster` does not take them. */
export const OWN_SETTINGS: ReadonlySet<string> = new Set([
  "name",
  "host",
  "port",
  "dir",
  "peer-port",
  "seeds",
  "announce-port",
  "announce-peer-port",
]);
/** Addresses that stand for all of a machine's: on the machine itself this one does. */
const ANY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::", ""]);
const LOOPBACK = "127.0.0.1";
/** Settings whose values are not shown. */
const SECRETS: ReadonlySet<string> = new Set(["--requirepass", "--cluster-secret"]);

/** `node-a` to `node-z`, then `node-27` and so on. */
export function memberName(index: number): string {
  return index < LETTERS ? `node-${String.fromCharCode(97 + index)}` : `node-${index + 1}`;
}

/** Throws CONFIG for what cannot be: too many members, ports beyond the last one or used twice. */
export function planMembers(request: ClusterRequest): readonly MemberPlan[] {
  checkNumbers(request);
  const { nodes, port, directory, existing } = request;
  const peerPort = peerPortOf(request);
  const seeds = Array.from({ length: request.seeds ?? nodes }, (_, at) => `${reachable(request.bind)}:${peerPort + at}`).join(
    ",",
  );
  const names = Array.from({ length: nodes }, (_, at) => memberName(at));
  const isNew = !names.some((name) => existing.has(name));
  return names.map((name, at) => {
    // The first is told of nobody, unless it lost its data and the others have theirs: it must not found a second ring.
    const isAlone = at === 0 && (isNew || existing.has(name));
    const own = new Map([
      ["port", `${port + at}`],
      ["dir", `${directory}/${name}`],
      ["name", name],
      ["host", name],
      ["peer-port", `${peerPort + at}`],
      ...(isAlone ? [] : [["seeds", seeds] as const]),
    ]);
    const flags = [...own, ...request.settings].filter(([setting]) => request.known.has(setting));
    return {
      name,
      port: port + at,
      peerPort: peerPort + at,
      directory: `${directory}/${name}`,
      args: [
        "server",
        ...(request.configPath === null ? [] : ["--config", request.configPath]),
        ...flags.flatMap(([setting, value]) => [`--${setting}`, value]),
      ],
      isFounder: at === 0 && isNew,
    };
  });
}

/** Names of members in the directory that a plan of so many leaves out. */
export function leftOut(names: readonly string[], nodes: number): readonly string[] {
  const planned = new Set(Array.from({ length: nodes }, (_, at) => memberName(at)));
  return names.filter((name) => /^node-([a-z]|\d+)$/.test(name) && !planned.has(name)).sort();
}

/** The address to connect to where a server listens on `bind`. */
export function reachable(bind: string): string {
  return ANY_ADDRESS.has(bind) ? LOOPBACK : bind;
}

/** A command line for people to copy, secrets left out. */
export function commandLine(args: readonly string[]): string {
  const words = args.map((word, at) => (SECRETS.has(args[at - 1] ?? "") ? "..." : quoted(word)));
  return ["npx kindred", ...words].join(" ");
}

function peerPortOf({ port, peerPort }: ClusterRequest): number {
  return peerPort ?? port + PEER_PORT_OFFSET;
}

function checkNumbers(request: ClusterRequest): void {
  const { nodes, port } = request;
  if (nodes < 1 || nodes > MEMBERS_MAX) {
    throw new OperatingError("CONFIG", `--nodes may be 1 to ${MEMBERS_MAX}, not ${nodes}`);
  }
  const peerPort = peerPortOf(request);
  const last = nodes - 1;
  if (port < 1 || port + last > PORT_MAX) {
    throw new OperatingError("CONFIG", `${nodes} members need the ports ${port} to ${port + last}; there are 1 to ${PORT_MAX}`);
  }
  if (peerPort < 1 || peerPort + last > PORT_MAX) {
    const advice = request.peerPort === null ? ` (${PEER_PORT_OFFSET} above --port)` : " (--peer-port)";
    throw new OperatingError(
      "CONFIG",
      `${nodes} members need the ports ${peerPort} to ${peerPort + last} among themselves${advice}; there are 1 to ${PORT_MAX}`,
    );
  }
  if (Math.abs(port - peerPort) <= last) {
    throw new OperatingError("CONFIG", `--port ${port} and --peer-port ${peerPort} overlap with ${nodes} members`);
  }
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
