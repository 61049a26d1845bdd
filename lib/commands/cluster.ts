/**
 * CLUSTER, for clients that route by slot. Every node answers every key, so nothing is ever redirected: the ring is only
 * advice where a key's first replica is.
 */
import { SLOTS, slotOf } from "../bytes/slot.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { integerOf, NOT_AN_INTEGER } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { ClusterMember, ClusterView, SlotRange } from "./cluster-view.js";
import type { ArgumentDoc, Command, CommandContext, CommandFlag } from "./command.js";
import { container } from "./help.js";

const FLAGS: readonly CommandFlag[] = ["stale"];
/** Keys that GETKEYSINSLOT answers at most in one reply. */
const KEYS_MAX = 1_000_000;

type ClientCall = Call<ClientSession>;

/** Builds the family. */
export function clusterCommands(view: ClusterView): readonly Command[] {
  const sub = (
    name: string,
    arity: number,
    run: Command["run"],
    about: Pick<Command, "summary"> & Partial<Command>,
  ): Command => ({
    name,
    arity,
    flags: FLAGS,
    keys: null,
    since: "3.0.0",
    group: "cluster",
    arguments: [],
    ...about,
    run,
  });
  const slot: ArgumentDoc = { name: "slot", type: "integer" };
  return [
    container({ name: "cluster", since: "3.0.0", group: "cluster", summary: "Commands about the ring." }, [
      sub("slots", 2, (_, call) => slots(view, call.reply), {
        summary: "Ranges of slots with their members, in order of preference.",
      }),
      sub("shards", 2, (_, call) => shards(view, call.reply), {
        since: "7.0.0",
        summary: "The same by first member, with more about each.",
      }),
      sub("nodes", 2, (_, call) => call.reply.verbatim(nodesText(view)), { summary: "The members, one a line." }),
      sub("info", 2, (_, call) => call.reply.verbatim(infoText(view)), { summary: "The state of the ring." }),
      sub("myid", 2, (_, call) => call.reply.bulk(view.self().id), { summary: "This member's id." }),
      sub("keyslot", 3, (_, call) => call.reply.integer(slotOf(call.args[2]!)), {
        summary: "The slot of a key.",
        arguments: [{ name: "key", type: "string" }],
      }),
      sub("countkeysinslot", 3, (context, call) => countKeys(context, call), {
        summary: "How many keys of the chosen database this member holds in a slot.",
        arguments: [slot],
      }),
      sub("getkeysinslot", 4, (context, call) => getKeys(context, call), {
        summary: "Some keys of the chosen database in a slot.",
        complexity: "O(N) for N keys",
        arguments: [slot, { name: "count", type: "integer" }],
      }),
    ]),
  ];
}

function slots(view: ClusterView, reply: Reply): void {
  const ranges = view.ranges();
  reply.array(ranges.length);
  for (const { first, last, members } of ranges) {
    reply.array(2 + members.length);
    reply.integer(first);
    reply.integer(last);
    for (const { ip, port, id } of members) {
      reply.array(4);
      reply.bulk(ip);
      reply.integer(port);
      reply.bulk(id);
      reply.map(0);
    }
  }
}

/** A shard: the slots whose preference lists begin with one member, and everyone on those lists. */
function shards(view: ClusterView, reply: Reply): void {
  const byFirst = new Map<string, SlotRange[]>();
  for (const range of view.ranges()) {
    const firstId = range.members[0]!.id;
    const known = byFirst.get(firstId);
    if (known === undefined) byFirst.set(firstId, [range]);
    else known.push(range);
  }
  reply.array(byFirst.size);
  for (const ranges of byFirst.values()) replyShard(reply, ranges);
}

function replyShard(reply: Reply, ranges: readonly SlotRange[]): void {
  const members = new Map(ranges.flatMap((range) => range.members).map((member) => [member.id, member]));
  const firstId = ranges[0]!.members[0]!.id;
  reply.map(2);
  reply.bulk("slots");
  reply.array(ranges.length * 2);
  for (const { first, last } of ranges) {
    reply.integer(first);
    reply.integer(last);
  }
  reply.bulk("nodes");
  reply.array(members.size);
  for (const member of members.values()) replyMember(reply, member, member.id === firstId ? "master" : "replica");
}

function replyMember(reply: Reply, member: ClusterMember, role: "master" | "replica"): void {
  reply.map(7);
  reply.bulk("id");
  reply.bulk(member.id);
  reply.bulk("port");
  reply.integer(member.port);
  reply.bulk("ip");
  reply.bulk(member.ip);
  reply.bulk("endpoint");
  reply.bulk(member.ip);
  reply.bulk("role");
  reply.bulk(role);
  reply.bulk("replication-offset");
  reply.integer(0);
  reply.bulk("health");
  reply.bulk(member.health);
}

/** Everyone is a master here: of the slots that prefer it. */
function nodesText(view: ClusterView): string {
  const self = view.self();
  const ranges = view.ranges();
  return view
    .members()
    .map((member) => {
      const own = ranges.filter((range) => range.members[0]!.id === member.id);
      const flags = `${member.id === self.id ? "myself," : ""}master${member.health === "failed" ? ",fail" : ""}`;
      const link = member.health === "failed" ? "disconnected" : "connected";
      const words = own.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
      const address = `${member.ip}:${member.port}@${member.peerPort}`;
      return `${[member.id, address, flags, "-", 0, 0, view.version(), link, ...words].join(" ")}\n`;
    })
    .join("");
}

/** Slots always have an owner, and a member that is down is stood in for: the state is ok as long as this node answers. */
function infoText(view: ClusterView): string {
  const members = view.members();
  const fields: readonly (readonly [string, string | number])[] = [
    ["cluster_state", "ok"],
    ["cluster_slots_assigned", SLOTS],
    ["cluster_slots_ok", SLOTS],
    ["cluster_slots_pfail", 0],
    ["cluster_slots_fail", 0],
    ["cluster_known_nodes", members.length],
    ["cluster_size", members.length],
    ["cluster_current_epoch", view.version()],
    ["cluster_my_epoch", view.version()],
    ["cluster_stats_messages_sent", 0],
    ["cluster_stats_messages_received", 0],
    ["total_cluster_links_buffer_limit_exceeded", 0],
  ];
  return fields.map(([name, value]) => `${name}:${value}\r\n`).join("");
}

function isSlot(slot: number): boolean {
  return slot >= 0 && slot < SLOTS;
}

function countKeys(context: CommandContext, { session, args, reply }: ClientCall): void {
  const slot = integerOf(args[2]!);
  if (slot === null) return reply.error(NOT_AN_INTEGER);
  if (!isSlot(slot)) return reply.error("ERR Invalid slot");
  reply.integer(context.keyspace.countKeysInSlot(session.scope.database, slot));
}

function getKeys(context: CommandContext, call: ClientCall): void {
  const { args, reply } = call;
  const { scope } = call.session;
  const slot = integerOf(args[2]!);
  const count = integerOf(args[3]!);
  if (slot === null || count === null) return reply.error(NOT_AN_INTEGER);
  if (!isSlot(slot) || count < 0) return reply.error("ERR Invalid slot or number of keys");
  call.later(async (answer) => {
    const keys = await context.keyspace.keysInSlot(scope, slot, Math.min(count, KEYS_MAX));
    answer.array(keys.length);
    for (const key of keys) answer.bulk(key);
  });
}
