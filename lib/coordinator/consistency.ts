/** The consistency settings of a connection, a database or one command, and the quorum sizes they stand for. Pure. */
import { unreachable } from "../assert.js";

export type Level = "ONE" | "QUORUM" | "ALL" | "LOCAL_ONE" | "LOCAL_QUORUM" | "EACH_QUORUM";

export const LEVELS: readonly Level[] = ["ONE", "QUORUM", "ALL", "LOCAL_ONE", "LOCAL_QUORUM", "EACH_QUORUM"];

/** How many replicas must answer: a named level, or numbers of 1..N. */
export type Quorum =
  | { readonly kind: "level"; readonly level: Level }
  | { readonly kind: "numbers"; readonly read: number; readonly write: number };

/**
 * Where nothing is said: LOCAL_QUORUM, which in a ring of one data centre is QUORUM and is called so. One for as long as a
 * connection lives, also while its ring comes to have a second data centre.
 */
export const AUTO_QUORUM: Quorum = { kind: "level", level: "LOCAL_QUORUM" };

export interface Consistency {
  readonly quorum: Quorum;
  /** May stand-ins count towards the quorum? */
  readonly standIns: "strict" | "sloppy";
  /** What GET does where there are siblings. */
  readonly conflicts: "newest" | "error";
}

/** How many copies there are of each key: min(`replicas`, members) in each data centre. */
export interface Copies {
  /** In the data centre of the node that the client speaks to, at least 1. */
  readonly local: number;
  /** In each of the other data centres. */
  readonly elsewhere: readonly number[];
}

/** N, R and W as they work out now. */
export interface QuorumSizes {
  readonly copies: number;
  readonly read: number;
  readonly write: number;
}

/** How many of `copies` a request waits for. Numbers above N mean N. */
export function quorumSizes(quorum: Quorum, copies: Copies): QuorumSizes {
  const all = copies.elsewhere.reduce((sum, count) => sum + count, copies.local);
  if (quorum.kind === "level") {
    const needed = answersNeeded(quorum.level, copies, all);
    return { copies: all, read: needed, write: needed };
  }
  return { copies: all, read: Math.min(quorum.read, all), write: Math.min(quorum.write, all) };
}

function answersNeeded(level: Level, copies: Copies, all: number): number {
  switch (level) {
    case "ONE":
    case "LOCAL_ONE":
      return 1;
    case "QUORUM":
      return majority(all);
    case "ALL":
      return all;
    case "LOCAL_QUORUM":
      return majority(copies.local);
    case "EACH_QUORUM":
      return copies.elsewhere.reduce((sum, count) => sum + majority(count), majority(copies.local));
    default:
      return unreachable(level);
  }
}

function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** The outcome of reading settings from words: how many words they took, or what is wrong. */
export type ParsedConsistency =
  | { readonly kind: "settings"; readonly consistency: Consistency; readonly words: number }
  | { readonly kind: "error"; readonly message: string };

/**
 * Reads as many settings as the words begin with (`ONE`, `READ 1 WRITE 2`, `STRICT`, `CONFLICTS ERROR`, ...) on top of
 * `base`; the first word that is none ends them. Words are in upper case. REQUIRES at least one word.
 */
export function parseConsistency(words: readonly string[], base: Consistency, replicasMax: number): ParsedConsistency {
  let consistency = base;
  let at = 0;
  while (at < words.length) {
    const word = words[at]!;
    const level = LEVELS.find((name) => name === word);
    if (level !== undefined) {
      consistency = { ...consistency, quorum: { kind: "level", level } };
      at += 1;
    } else if (word === "STRICT" || word === "SLOPPY") {
      consistency = { ...consistency, standIns: word === "STRICT" ? "strict" : "sloppy" };
      at += 1;
    } else if (word === "CONFLICTS") {
      const choice = words[at + 1];
      if (choice !== "NEWEST" && choice !== "ERROR") return problem("CONFLICTS is followed by NEWEST or ERROR");
      consistency = { ...consistency, conflicts: choice === "NEWEST" ? "newest" : "error" };
      at += 2;
    } else if (word === "READ") {
      const read = countOf(words[at + 1], replicasMax);
      const write = words[at + 2] === "WRITE" ? countOf(words[at + 3], replicasMax) : null;
      if (read === null || write === null) {
        return problem(`use READ <r> WRITE <w> with numbers from 1 to ${replicasMax} (replicas)`);
      }
      consistency = { ...consistency, quorum: { kind: "numbers", read, write } };
      at += 4;
    } else {
      break;
    }
  }
  if (at === 0) return problem(`unknown setting '${words[0]}'; use ${LEVELS.join(", ")}, READ, STRICT, SLOPPY or CONFLICTS`);
  return { kind: "settings", consistency, words: at };
}

function problem(message: string): ParsedConsistency {
  return { kind: "error", message };
}

function countOf(word: string | undefined, most: number): number | null {
  if (word === undefined || !/^[1-9][0-9]{0,3}$/.test(word)) return null;
  const count = Number(word);
  return count <= most ? count : null;
}

/** The quorum in the words that CONSISTENCY takes. */
export function formatQuorum(quorum: Quorum, copies: Copies): string {
  if (quorum === AUTO_QUORUM && copies.elsewhere.length === 0) return "QUORUM";
  return quorum.kind === "level" ? quorum.level : `READ ${quorum.read} WRITE ${quorum.write}`;
}
