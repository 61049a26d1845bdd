/**
 * What operators have a node do to the cluster: CLUSTER REPAIR, BACKUP, LEAVE and REMOVE. Plain data and one interface; the node implements it. What is
 * JSON here is what these commands answer: fields are added, never renamed.
 */
import { SLOTS } from "../bytes/slot.js";
import type { Call } from "../resp/call.js";
import { oneOf, option, optional, token } from "./argument-docs.js";
import { integerOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandFlag } from "./command.js";

const FLAGS: readonly CommandFlag[] = ["admin", "stale", "no_multi"];
const OURS = "0.2.0";
const REPAIR_SYNTAX = "ERR syntax error: CLUSTER REPAIR [SLOT slot] [MEMBER name-or-id] [FULL] | STATUS";
const REMOVE_SYNTAX = "ERR several members are taken out at once by force only: CLUSTER REMOVE name-or-id name-or-id ... FORCE";
const LEAVE_SYNTAX = "ERR syntax error: CLUSTER LEAVE [FORCE] [IFVERSION version]";

/** What copies are compared. */
export interface RepairRequest {
  /** Null: all slots. */
  readonly slot: number | null;
  /** With which member, by name or id; null: with all that share slots. */
  readonly member: string | null;
  /** `full`: this node reads all its records first, and trusts no sum that it keeps of them. */
  readonly sums: "kept" | "full";
}

/** What CLUSTER REPAIR STATUS answers. */
export interface RepairReply {
  /** `none`: nothing was asked for since the start. `summing up`: this node reads its records. */
  readonly state: "none" | "summing up" | "comparing" | "done";
  /** Whose sums are not known. */
  readonly slotsUnknown: number;
  readonly membersDone: number;
  readonly members: number;
  readonly slotsDiffering: number;
  /** Records that this node took from others, and that others took from it. */
  readonly taken: number;
  readonly given: number;
  /** Sent and received. */
  readonly bytes: number;
  /** Members that could not be compared with, and slots and keys that could not be repaired. */
  readonly failed: number;
  /** The last reason, for people; empty for none. */
  readonly complaint: string;
}

/** What CLUSTER BACKUP STATUS answers, of the last one since the start. */
export interface BackupReply {
  readonly state: "none" | "running" | "done" | "failed";
  readonly path: string;
  readonly files: number;
  readonly filesDone: number;
  /** That share their place on the disk with the store, and that do not. */
  readonly linkedBytes: number;
  readonly copiedBytes: number;
  readonly tookMs: number;
  /** Why it failed, for people. */
  readonly complaint: string;
}

export interface LeaveRequest {
  /** Members that are down and would take over slots are done without. */
  readonly isForced: boolean;
  /** Only as long as the ring has this version; null: whichever it has. */
  readonly ifVersion: number | null;
}

export interface RemoveRequest {
  /** By name or id; several only where they are all gone for good, and with them a majority of the members. */
  readonly members: readonly string[];
  /** It need not be down; and what is on members that are down only is done without. */
  readonly isForced: boolean;
}

/** Texts are for people. */
export type OperationOutcome =
  /** `note`: what it waits for, or what may be lost by it; empty for nothing to say. */
  { readonly kind: "agreed"; readonly note: string } | { readonly kind: "refused"; readonly reason: string };

export interface ClusterOperations {
  /** Null, or why nothing was begun, for people. */
  repair(request: RepairRequest): string | null;
  repairStatus(): RepairReply;
  /** Begins a copy of this node's store to an absolute path on its machine. */
  backup(path: string): string | null;
  backupStatus(): BackupReply;
  /** Has this node leave the ring: it stops when it has given away all it has. Resolves when the members have agreed on that. */
  leave(request: LeaveRequest): Promise<OperationOutcome>;
  /** Has the others take over from a member that is gone for good. Resolves when the members have agreed on that. */
  remove(request: RemoveRequest): Promise<OperationOutcome>;
}

/** Subcommands of CLUSTER. */
export function clusterOperationCommands(operations: ClusterOperations): readonly Command[] {
  const about = { flags: FLAGS, keys: null, since: OURS, group: "cluster", arguments: [] } as const;
  return [
    {
      ...about,
      name: "leave",
      arity: -2,
      summary: "Has this member leave its cluster: it gives its slots away, then stops.",
      complexity: "O(1); the work is done in the background",
      arguments: [optional(token("FORCE")), optional(option("IFVERSION", "version", "integer"))],
      run: (_, call) => leave(operations, call),
    },
    {
      ...about,
      name: "remove",
      arity: -3,
      summary: "Takes a member that is gone for good, or one that is still to join, out of the cluster.",
      complexity: "O(1); the work is done in the background",
      arguments: [{ name: "name-or-id", type: "string", multiple: true }, optional(token("FORCE"))],
      run: (_, call) => remove(operations, call),
    },
    {
      ...about,
      name: "repair",
      arity: -2,
      summary: "Compares this node's copies with other members' and makes them equal; STATUS tells how far it is, as JSON.",
      complexity: "O(1); the work is done in the background",
      arguments: [
        optional(
          oneOf("what", [
            token("STATUS"),
            {
              name: "order",
              type: "block",
              arguments: [
                optional(option("SLOT", "slot", "integer")),
                optional(option("MEMBER", "name-or-id", "string")),
                optional(token("FULL")),
              ],
            },
          ]),
        ),
      ],
      run: (_, call) => repair(operations, call),
    },
    {
      ...about,
      name: "backup",
      arity: 3,
      summary: "Copies this node's store into a directory on its machine while it serves; STATUS tells how far it is, as JSON.",
      complexity: "O(N) for N files, done in the background",
      arguments: [oneOf("what", [token("STATUS"), { name: "path", type: "string" }])],
      run: (_, call) => backup(operations, call),
    },
  ];
}

function leave(operations: ClusterOperations, call: Call<ClientSession>): void {
  const words = call.args.slice(2).map((arg) => Buffer.from(arg).toString("utf8").toLowerCase());
  let isForced = false;
  let ifVersion: number | null = null;
  for (let at = 0; at < words.length; at++) {
    if (words[at] === "force" && !isForced) isForced = true;
    else if (words[at] === "ifversion" && ifVersion === null) {
      ifVersion = integerOf(Buffer.from(words[++at] ?? ""));
      if (ifVersion === null) return call.reply.error(LEAVE_SYNTAX);
    } else return call.reply.error(LEAVE_SYNTAX);
  }
  answerLater(call, () => operations.leave({ isForced, ifVersion }));
}

function remove(operations: ClusterOperations, call: Call<ClientSession>): void {
  const words = call.args.slice(2).map((arg) => Buffer.from(arg).toString("utf8"));
  const isForced = words.length > 1 && words.at(-1)!.toLowerCase() === "force";
  const members = isForced ? words.slice(0, -1) : words;
  if (members.length > 1 && !isForced) return call.reply.error(REMOVE_SYNTAX);
  answerLater(call, () => operations.remove({ members, isForced }));
}

function answerLater(call: Call<ClientSession>, work: () => Promise<OperationOutcome>): void {
  call.later(async (reply) => {
    const outcome = await work();
    if (outcome.kind === "refused") reply.error(`ERR ${outcome.reason}`);
    else if (outcome.note === "") reply.ok();
    else reply.simple(`OK, but ${outcome.note}`);
  });
}

function backup(operations: ClusterOperations, { args, reply }: Call<ClientSession>): void {
  const path = Buffer.from(args[2]!).toString("utf8");
  if (path.toLowerCase() === "status") return reply.bulkText(JSON.stringify(operations.backupStatus()));
  const objection = operations.backup(path);
  if (objection === null) reply.ok();
  else reply.error(`ERR ${objection}`);
}

function repair(operations: ClusterOperations, call: Call<ClientSession>): void {
  const { args, reply } = call;
  const words = args.slice(2).map((arg) => Buffer.from(arg).toString("utf8"));
  if (words.length === 1 && words[0]!.toLowerCase() === "status") {
    return reply.bulkText(JSON.stringify(operations.repairStatus()));
  }
  const request = requestOf(words);
  if (typeof request === "string") return reply.error(request);
  const objection = operations.repair(request);
  if (objection === null) reply.ok();
  else reply.error(`ERR ${objection}`);
}

/** The request, or the error. */
function requestOf(words: readonly string[]): RepairRequest | string {
  let slot: number | null = null;
  let member: string | null = null;
  let sums: RepairRequest["sums"] = "kept";
  const given = new Set<string>();
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!.toLowerCase();
    const value = words[at + 1];
    if (given.has(word)) return REPAIR_SYNTAX;
    given.add(word);
    switch (word) {
      case "full":
        sums = "full";
        break;
      case "slot":
        slot = value === undefined ? null : integerOf(Buffer.from(value));
        if (slot === null || slot < 0 || slot >= SLOTS) return `ERR Invalid slot: it may be 0 to ${SLOTS - 1}`;
        at++;
        break;
      case "member":
        if (value === undefined) return "ERR syntax error: MEMBER wants a name or an id";
        member = value;
        at++;
        break;
      default:
        return REPAIR_SYNTAX;
    }
  }
  return { slot, member, sums };
}
