/**
 * What members of one cluster must agree on before they talk: sent in each hello, compared by both sides. Pure. Whoever
 * refuses says it in words for people, which both sides log: so texts say "here" for who refuses and "there" for the other.
 */
import { OperatingError } from "../errors.js";
import type { PeerHello } from "../peer/peer.js";
import { FieldReader, FieldWriter, text, varint } from "./field-encoding.js";
import { isMemberId, type MemberId } from "./member.js";
import type { ReplicaCounts } from "./preference-table.js";

const FORMAT = 1;
/** Numbers on the wire: append, never reuse. */
const Tag = { slotScheme: 1, replicas: 2, name: 3, members: 4 } as const;
/** How keys become slots: 1 is CRC16 of the key or its hash tag, modulo 16384. */
const SLOT_SCHEME = 1;
/** A name in a text that has 300 characters at most. */
const NAME_LENGTH_MAX = 40;
const CLUSTER_ID_SHOWN = 8;

export interface HelloSettings {
  readonly slotScheme: number;
  readonly replicas: ReplicaCounts;
  /** For people. */
  readonly name: string;
  /** Members of its ring, those that are joining included; 0 while it knows no ring. */
  readonly members: number;
}

/** What a hello is held against. */
export interface Admission {
  readonly settings: HelloSettings;
  /** Null while this node knows no ring. */
  readonly clusterId: string | null;
  readonly removed: ReadonlySet<MemberId>;
}

export function helloSettings(own: Omit<HelloSettings, "slotScheme">): HelloSettings {
  return { slotScheme: SLOT_SCHEME, ...own };
}

/** Layout: docs/FORMATS.md, "Peer protocol". */
export function encodeHelloSettings(settings: HelloSettings): Buffer {
  const { replicas } = settings;
  const fields = new FieldWriter();
  fields.add(Tag.slotScheme, varint(settings.slotScheme));
  fields.add(Tag.replicas, varint(replicas.default), ...replicas.dcs.flatMap((d) => [text(d.dc), varint(d.replicas)]));
  fields.add(Tag.name, Buffer.from(settings.name));
  fields.add(Tag.members, varint(settings.members));
  return Buffer.concat([Buffer.of(FORMAT), fields.finish()]);
}

/** Throws CORRUPT. Fields of later versions are passed over. */
export function decodeHelloSettings(bytes: Buffer): HelloSettings {
  if (bytes[0] !== FORMAT) throw new OperatingError("CORRUPT", `format ${bytes[0]} there, ${FORMAT} here`);
  const fields = new FieldReader(bytes.subarray(1));
  const slotScheme = fields.take(Tag.slotScheme).lastVarint();
  const counts = fields.take(Tag.replicas);
  return {
    slotScheme,
    replicas: {
      default: counts.varint(),
      dcs: counts.many((part) => ({ dc: part.sized().toString(), replicas: part.varint() })),
    },
    name: fields.take(Tag.name).rest().toString(),
    members: fields.take(Tag.members).lastVarint(),
  };
}

/** Why a link with this peer is refused, or null. */
export function objectionTo(hello: PeerHello, ours: Admission): string | null {
  if (!isMemberId(hello.peerId)) return "an id of 16 hexadecimal digits is expected of a member";
  let theirs: HelloSettings;
  try {
    theirs = decodeHelloSettings(hello.settings);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return `the greetings of the two versions do not match (${error.message}): run the same version on all members`;
  }
  if (theirs.slotScheme !== ours.settings.slotScheme) {
    return `${nameOf(ours.settings)} hashes keys to slots by scheme ${ours.settings.slotScheme}, ${nameOf(theirs)} by ${theirs.slotScheme}: run the same version on all members`;
  }
  if (ours.clusterId !== null && hello.clusterId !== null && ours.clusterId !== hello.clusterId) {
    return foreignText({ hello, clusterId: ours.clusterId, ours: ours.settings, theirs });
  }
  if (ours.removed.has(hello.peerId)) {
    return `member ${hello.peerId} was removed from this cluster; it may join anew with an empty data directory (--dir)`;
  }
  if (!isSameReplicas(theirs.replicas, ours.settings.replicas)) {
    return `${nameOf(ours.settings)} has --replicas ${replicasText(ours.settings.replicas)}, ${nameOf(theirs)} has ${replicasText(theirs.replicas)}: start the node with the number that its cluster has`;
  }
  return null;
}

function foreignText(options: {
  readonly hello: PeerHello;
  readonly clusterId: string;
  readonly ours: HelloSettings;
  readonly theirs: HelloSettings;
}): string {
  const { hello, clusterId, ours, theirs } = options;
  const shown = [clusterId, hello.clusterId ?? ""].map((id) => id.slice(0, CLUSTER_ID_SHOWN));
  const fact = `${nameOf(ours)} is of cluster ${shown[0]}, ${nameOf(theirs)} of cluster ${shown[1]}: only a node with an empty data directory joins`;
  // Who dialled is the one that looks for members.
  const inOrder = hello.direction === "accepted" ? [theirs, ours] : [ours, theirs];
  const lone = inOrder.find((settings) => settings.members === 1);
  if (lone === undefined) return fact;
  return `${fact}. ${nameOf(lone)} is alone in its cluster: to join the other, stop it, clear its data directory (--dir) and start it again`;
}

function nameOf({ name }: HelloSettings): string {
  return name.slice(0, NAME_LENGTH_MAX);
}

export function isSameReplicas(a: ReplicaCounts, b: ReplicaCounts): boolean {
  return replicasText(a) === replicasText(b);
}

/** As `--replicas` takes it: `3`, `3,dc2:2`. */
export function replicasText({ default: common, dcs }: ReplicaCounts): string {
  return [`${common}`, ...dcs.map((entry) => `${entry.dc}:${entry.replicas}`)].join(",");
}
