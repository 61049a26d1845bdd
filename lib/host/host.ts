/** The five seams between Kindred and the machine. Nothing outside lib/host/ reaches past them. */
import type { Clock } from "./clock.js";
import type { Disk } from "./disk.js";
import type { Network } from "./network.js";
import type { Random } from "./random.js";
import type { Workers } from "./workers.js";

export interface Host {
  readonly clock: Clock;
  readonly disk: Disk;
  /** The connections of clients. */
  readonly network: Network;
  /** The links between members. Another object, because TLS trusts members by other rules than clients. */
  readonly peerNetwork: Network;
  readonly random: Random;
  readonly workers: Workers;
}
