/** The address that others are told to reach this node by. */
import type { Config } from "../config.js";

const ANY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);
const LOOPBACK = "127.0.0.1";

/**
 * What others are told to reach this node by. An address that stands for all of a machine's is none: then it is the machine's
 * first that is not its own alone.
 */
export function reachableHost({ bind, announceIp }: Config, machineAddress: string): string {
  if (announceIp !== "") return announceIp;
  if (!ANY_ADDRESS.has(bind)) return bind === "localhost" ? LOOPBACK : bind;
  return machineAddress === "" ? LOOPBACK : machineAddress;
}
