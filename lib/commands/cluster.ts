/**
 * CLUSTER, for clients that route by slot and for operators. Every node answers every key, so nothing is ever redirected:
 * the ring is only advice where a key's first replica is. STATUS, RING and WHERE are ours: JSON for the `kindred` command; what
 * operators have done to the cluster is in cluster-operations.ts.
 */
import { SLOTS, slotOf } from "../bytes/slot.js";
import type { Call } from "../resp/call.js";
import { Reply } from "../resp/reply.js";
import { KEY } from "./argument-docs.js";
import { integerOf, NOT_AN_INTEGER } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import { type ClusterOperations, clusterOperationCommands } from "./cluster-operations.js";
import type { ClusterMember, ClusterView, SlotRange, StatusReply, WhereReply } from "./cluster-view.js";
import type { ArgumentDoc, Command, CommandContext, CommandFlag } from "./command.js";
import { container } from "./help.js";
import { whereAlone } from "./where-alone.js";

const FLAGS: readonly CommandFlag[] = ["stale"];
/** STATUS and RING look at this node only; WHERE asks others for a key, and within EXEC it would wait for its own hold. */
const ADMIN: readonly CommandFlag[] = ["admin", "stale"];
const ADMIN_OF_KEYS: readonly CommandFlag[] = ["readonly", "admin", "no_multi"];
/** The version of Kindred that brought ours. */
const OURS = "0.2.0";
/** Keys that GETKEYSINSLOT answers at most in one reply. */
const KEYS_MAX = 1_000_000;

type ClientCall = Call<ClientSession>;

/** Builds the family. */
export function clusterCommands(view: ClusterView, operations: ClusterOperations): readonly Command[] {
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
  const slots = new SlotsReply(view);
  return [
    container({ name: "cluster", since: "3.0.0", group: "cluster", summary: "Commands about the ring." }, [
      sub("slots", 2, (_, call) => slots.answer(call.reply), {
        summary: "Ranges of slots with their members, in order of preference.",
        complexity: "O(N) for N ranges",
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
        summary: "How many keys of the chosen database there are in a slot.",
        arguments: [slot],
      }),
      sub("getkeysinslot", 4, (context, call) => getKeys(context, call), {
        summary: "Some keys of the chosen database in a slot.",
        complexity: "O(N) for N keys",
        arguments: [slot, { name: "count", type: "integer" }],
      }),
      sub("status", 2, (context, call) => status(view, context, call.reply), {
        summary: "How each member fares, as JSON.",
        since: OURS,
        flags: ADMIN,
        complexity: "O(N) for N members",
      }),
      sub("ring", 2, (_, call) => call.reply.bulkText(JSON.stringify(view.ringDocument())), {
        summary: "What the members agree on and who owns how much, as JSON.",
        since: OURS,
        flags: ADMIN,
        complexity: "O(N) for N tokens",
      }),
      sub("where", 3, (context, call) => where(view, context, call), {
        summary: "Which members hold a key of the chosen database, and what each has of it, as JSON.",
        since: OURS,
        flags: ADMIN_OF_KEYS,
        keys: { first: 2, last: 2, step: 1 },
        complexity: "O(N) for N copies",
        arguments: [KEY],
      }),
      ...clusterOperationCommands(operations),
    ]),
  ];
}

/** Hundreds of ranges, asked for by every client at once when a node dies: encoded once for each protocol and ring. */
class SlotsReply {
  readonly #view: ClusterView;
  #ranges: readonly SlotRange[] | null = null;
  readonly #encoded = new Map<2 | 3, string>();

  constructor(view: ClusterView) {
    this.#view = view;
  }

  answer(reply: Reply): void {
    const ranges = this.#view.ranges();
    if (ranges !== this.#ranges) {
      this.#ranges = ranges;
      this.#encoded.clear();
    }
    let encoded = this.#encoded.get(reply.protocol);
    if (encoded === undefined) {
      encoded = encodeSlots(ranges, reply.protocol);
      this.#encoded.set(reply.protocol, encoded);
    }
    reply.raw(encoded);
  }
}

function encodeSlots(ranges: readonly SlotRange[], protocol: 2 | 3): string {
  const reply = new Reply(protocol);
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
  return reply.take();
}

/** What a member is shown as master of: slots whose preference lists begin with it, and who else is on those lists. */
interface Mastered {
  readonly first: ClusterMember;
  /** Ascending, with gaps between them. */
  readonly stretches: { readonly first: number; last: number }[];
  readonly others: Map<string, ClusterMember>;
}

/** For every member, in their order. */
function mastered(view: ClusterView): readonly Mastered[] {
  const byId = new Map<string, Mastered>();
  const of = (member: ClusterMember): Mastered => {
    const known = byId.get(member.id) ?? { first: member, stretches: [], others: new Map() };
    byId.set(member.id, known);
    return known;
  };
  for (const member of view.members()) of(member);
  for (const { first, last, members } of view.ranges()) {
    const { stretches, others } = of(members[0]!);
    const before = stretches.at(-1);
    if (before?.last === first - 1) before.last = last;
    else stretches.push({ first, last });
    for (let at = 1; at < members.length; at++) others.set(members[at]!.id, members[at]!);
  }
  return [...byId.values()];
}

/** A shard: the slots whose preference lists begin with one member (maybe none), and everyone on those lists. */
function shards(view: ClusterView, reply: Reply): void {
  const all = mastered(view);
  reply.array(all.length);
  for (const shard of all) replyShard(reply, shard);
}

function replyShard(reply: Reply, { first, stretches, others }: Mastered): void {
  reply.map(2);
  reply.bulk("slots");
  reply.array(stretches.length * 2);
  for (const stretch of stretches) {
    reply.integer(stretch.first);
    reply.integer(stretch.last);
  }
  reply.bulk("nodes");
  reply.array(1 + others.size);
  replyMember(reply, first, "master");
  for (const member of others.values()) replyMember(reply, member, "replica");
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
  return mastered(view)
    .map(({ first: member, stretches }) => {
      const flags = `${member.id === self.id ? "myself," : ""}master${member.health === "failed" ? ",fail" : ""}`;
      const link = member.health === "failed" ? "disconnected" : "connected";
      const words = stretches.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
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

function status(view: ClusterView, { clock }: CommandContext, reply: Reply): void {
  const answer: StatusReply = { ...view.status(), nowMs: clock.wallMs() };
  reply.bulkText(JSON.stringify(answer));
}

function where(view: ClusterView, { keyspace }: CommandContext, call: ClientCall): void {
  const { scope } = call.session;
  call.later(async (reply, args) => {
    const key = args[2]!;
    const { database } = scope;
    const report =
      view.where === null ? await whereAlone({ self: view.self(), keyspace, scope, key }) : await view.where(database, key);
    const answer: WhereReply = { key: Buffer.from(key).toString("utf8"), database, ...report };
    reply.bulkText(JSON.stringify(answer));
  });
}

function isSlot(slot: number): boolean {
  return slot >= 0 && slot < SLOTS;
}

function countKeys(context: CommandContext, call: ClientCall): void {
  const { args, reply } = call;
  const { scope } = call.session;
  const slot = integerOf(args[2]!);
  if (slot === null) return reply.error(NOT_AN_INTEGER);
  if (!isSlot(slot)) return reply.error("ERR Invalid slot");
  call.later(async (answer) => {
    answer.integer(await context.keyspace.countKeysInSlot(scope, slot));
  });
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
