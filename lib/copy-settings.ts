/** The settings of what makes copies equal in the background: kept writes, the transfer of slots, anti-entropy. Part of config.ts. */
import { bytes, integer } from "./setting-kinds.js";

const KB = 1_024;
const MB = 1_024 * KB;
const GB = 1_024 * MB;

export const copySettings = {
  hintsMaxBytes: bytes({
    name: "hints-max-bytes",
    default: GB,
    min: 0,
    max: 1_024 * GB,
    change: "at run time",
    why: "writes kept for members that are away, all members together; past it they are left to anti-entropy",
  }),
  hintsMaxAge: integer({
    name: "hints-max-age",
    default: 10_800,
    min: 1,
    max: 31_536_000,
    change: "at run time",
    why: "seconds after which a write kept for a member that is away is left to anti-entropy",
  }),
  handoffInFlight: integer({
    name: "handoff-in-flight",
    default: 64,
    min: 1,
    max: 4_096,
    change: "at run time",
    why: "kept writes that are under way at once, to all members that are back together",
  }),
  handoffRateBytes: bytes({
    name: "handoff-rate-bytes",
    default: 8 * MB,
    min: KB,
    max: 64 * GB,
    change: "at run time",
    why: "bytes a second of kept writes that are handed over, to all members together",
  }),
  transferRateBytes: bytes({
    name: "transfer-rate-bytes",
    default: 64 * MB,
    min: KB,
    max: 64 * GB,
    change: "at run time",
    why: "bytes a second that this node reads of the slots that it is to own",
  }),
  antiEntropyInterval: integer({
    name: "anti-entropy-interval",
    default: 10,
    min: 0,
    max: 31_536_000,
    change: "at run time",
    why: "seconds between two comparisons of this node's copies with those of one and the same member; 0 for never",
  }),
  repairRateBytes: bytes({
    name: "repair-rate-bytes",
    default: 16 * MB,
    min: KB,
    max: 64 * GB,
    change: "at run time",
    why: "bytes a second that this node reads and sends to find and repair copies that differ",
  }),
  reapInterval: integer({
    name: "reap-interval",
    default: 10,
    min: 0,
    max: 31_536_000,
    change: "at run time",
    why: "seconds between two rounds in which members agree which tombstones may leave; 0 for never",
  }),
  tombstoneAgeMin: integer({
    name: "tombstone-age-min",
    default: 60,
    min: 0,
    max: 31_536_000,
    change: "at run time",
    why: "seconds for which a tombstone is kept at least, so that a key that is soon written again costs no round",
  }),
};
