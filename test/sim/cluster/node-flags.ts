/**
 * How the nodes of a world are configured: the one place that differs between rings of one and a cluster.
 */
import { buildConfig, type Config, flagSource } from "../../../lib/config.js";

/** `alone`: each node is a ring of one. `cluster`: all are one ring. */
export type Topology = "alone" | "cluster";

/** Where a node stands, and what its operator set. */
export interface NodePlace {
  readonly index: number;
  readonly name: string;
  readonly topology: Topology;
  /** Settings by name, over those that the world chooses. */
  readonly settings: Readonly<Record<string, string>>;
}

const CLIENT_PORT = 7_000;
const PEER_PORT_OFFSET = 10_000;
export const DATA_DIRECTORY = "/data";

/** Small enough that a world of nodes starts in milliseconds, and that tables are flushed within a run. */
const SMALL: Readonly<Record<string, string>> = {
  "memory-table-bytes": "262144",
  "block-cache-bytes": "1048576",
  "table-bytes": "262144",
  "level-bytes-base": "1048576",
  "log-level": "debug",
};

export function nodeName(index: number): string {
  return `node-${String.fromCharCode(97 + index)}`;
}

export function clientPort(index: number): number {
  return CLIENT_PORT + index;
}

export function peerPort(index: number): number {
  return clientPort(index) + PEER_PORT_OFFSET;
}

export function nodeConfig(place: NodePlace): Config {
  const flags = {
    ...SMALL,
    ...ownFlags(place),
    ...(place.topology === "cluster" ? clusterFlags(place) : {}),
    ...place.settings,
  };
  return buildConfig([flagSource(new Map(Object.entries(flags)))]);
}

function ownFlags({ index, name }: NodePlace): Record<string, string> {
  return { port: String(clientPort(index)), bind: name, dir: DATA_DIRECTORY, name };
}

/** Settings to be: they exist once nodes join each other. The first node founds the ring, the others join through those before. */
function clusterFlags({ index, name }: NodePlace): Record<string, string> {
  const seeds = Array.from({ length: index }, (_, seed) => `${nodeName(seed)}:${peerPort(seed)}`);
  return {
    "peer-port": String(peerPort(index)),
    "cluster-secret": "secret of the simulated cluster",
    host: name,
    ...(seeds.length === 0 ? {} : { seeds: seeds.join(",") }),
  };
}

/** Keys of nodes that are rings of one name their ring: `n2-...`. Others are of the first. */
export function ringOfKey(key: string): number {
  const found = /^n(\d+)-/.exec(key);
  return found === null ? 0 : Number(found[1]);
}
