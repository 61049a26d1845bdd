/**
 * CLUSTER, for clients that route by slot and for operators. Every node answers every key, so nothing is ever redirected:
 * the ring is only advice where a key's first replica is. STATUS, RING and WHERE are ours: JSON for the `kindred` command.
 */
import { SLOTS, slotOf } from "../bytes/slot.js";
import type { Call } from "../resp/call.js";
import { Reply } from "../resp/reply.js";
import { KEY } from "./argument-docs.js";
import { integerOf, NOT_AN_INTEGER } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
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
        summary: "How many keys of the chosen database this member holds in a slot.",
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

/** The ranges of each member by its id: those whose preference lists begin with it. */
function rangesByFirst(view: ClusterView): ReadonlyMap<string, readonly SlotRange[]> {
  const byFirst = new Map<string, SlotRange[]>(view.members().map(({ id }) => [id, []]));
  for (const range of view.ranges()) {
    const { id } = range.members[0]!;
    const known = byFirst.get(id);
    if (known === undefined) byFirst.set(id, [range]);
    else known.push(range);
  }
  return byFirst;
}

/** A shard: the slots whose preference lists begin with one member (maybe none), and everyone on those lists. */
function shards(view: ClusterView, reply: Reply): void {
  const members = new Map(view.members().map((member) => [member.id, member]));
  const byFirst = rangesByFirst(view);
  reply.array(byFirst.size);
  for (const [id, ranges] of byFirst) replyShard(reply, members.get(id) ?? ranges[0]!.members[0]!, ranges);
}

function replyShard(reply: Reply, first: ClusterMember, ranges: readonly SlotRange[]): void {
  const members = new Map([first, ...ranges.flatMap((range) => range.members)].map((member) => [member.id, member]));
  reply.map(2);
  reply.bulk("slots");
  reply.array(ranges.length * 2);
  for (const { first: from, last: to } of ranges) {
    reply.integer(from);
    reply.integer(to);
  }
  reply.bulk("nodes");
  reply.array(members.size);
  for (const member of members.values()) replyMember(reply, member, member.id === first.id ? "master" : "replica");
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
  const byFirst = rangesByFirst(view);
  return view
    .members()
    .map((member) => {
      const own = byFirst.get(member.id) ?? [];
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
