/**
 * Ports for members that must be known before they start, and be the same after a restart: below those that the system
 * hands out by itself, so that nobody takes one while its member is down.
 */
import { once } from "node:events";
import { createServer } from "node:net";

export interface MemberPorts {
  readonly client: number;
  readonly peer: number;
  /** What the others are told, where a proxy stands between members. */
  readonly announcedPeer: number;
}

const CLIENT_MIN = 7_400;
const CLIENT_MAX = 7_999;
const OWN_MIN = 7_300;
const PEER_ABOVE = 10_000;
const ANNOUNCED_ABOVE = 20_000;

/** Client ports of rings whose members lie in a row, each member's own port above it. */
const RUN_MIN = 10_000;
const RUN_MAX = 16_999;

/** Processes that test at the same time begin at different places. */
let nextOfRun = RUN_MIN + ((process.pid * 10) % (RUN_MAX - RUN_MIN));
let next = CLIENT_MIN + ((process.pid * 7) % (CLIENT_MAX - CLIENT_MIN));

/** Ports of so many members, all free now and not given out before, until all have been. */
export async function memberPorts(count: number): Promise<readonly MemberPorts[]> {
  const found: MemberPorts[] = [];
  for (let tried = CLIENT_MIN; found.length < count; tried++) {
    if (tried > CLIENT_MAX) throw new Error(`there are not ${count} free ports from ${CLIENT_MIN} to ${CLIENT_MAX}`);
    const client = next;
    next = next === CLIENT_MAX ? CLIENT_MIN : next + 1;
    const ports = portsAbove(client);
    const areFree = await Promise.all(Object.values(ports).map(isFree));
    if (areFree.every((isIt) => isIt)) found.push(ports);
  }
  return found;
}

/** The same in a network of their own, where all are free. */
export function ownPorts(count: number): readonly MemberPorts[] {
  return Array.from({ length: count }, (_, at) => portsAbove(OWN_MIN + at));
}

/** The first of so many client ports in a row that are free, as their ports for members are. Not given out again until all have been. */
export async function freePorts(count: number): Promise<number> {
  for (let tried = RUN_MIN; tried <= RUN_MAX; tried += count) {
    if (nextOfRun + count > RUN_MAX) nextOfRun = RUN_MIN;
    const first = nextOfRun;
    nextOfRun += count;
    const wanted = Array.from({ length: count }, (_, at) => [first + at, first + at + PEER_ABOVE]).flat();
    const areFree = await Promise.all(wanted.map(isFree));
    if (areFree.every((isIt) => isIt)) return first;
  }
  throw new Error(`there are not ${count} free ports in a row from ${RUN_MIN} to ${RUN_MAX}`);
}

function portsAbove(client: number): MemberPorts {
  return { client, peer: client + PEER_ABOVE, announcedPeer: client + ANNOUNCED_ABOVE };
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}
