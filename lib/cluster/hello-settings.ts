/**
 * What members of one cluster must agree on before they talk: sent in each hello, compared by both sides. Pure. Whoever
 * refuses says it in words for people, which both sides log: so texts say "here" for who refuses and "there" for the other.
 */
import { OperatingError } from "../errors.js";
import type { PeerHello, PeerObjection } from "../peer/peer.js";
import { FieldReader, FieldWriter, text, varint } from "./field-encoding.js";
import { isRunLost } from "./known-runs.js";
import { isMemberId, type MemberId } from "./member.js";
import type { RunsTold } from "./own-runs.js";
import type { ReplicaCounts } from "./preference-table.js";
import { REPLICAS_DEFAULT } from "./ring-document.js";

const FORMAT = 1;
/** Numbers on the wire: append, never reuse. */
const Tag = { slotScheme: 1, replicas: 2, name: 3, members: 4, runs: 5 } as const;
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
  /** Null where nothing is to be made of them: by a store that was restored, and of a version that does not tell. */
  readonly runs: RunsTold | null;
}

/** What a hello is held against. */
export interface Admission {
  readonly settings: HelloSettings;
  /** Null while this node knows no ring. */
  readonly clusterId: string | null;
  readonly removed: ReadonlySet<MemberId>;
  /** The generations in which a peer was known here. */
  readonly knownRuns: readonly number[];
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
  if (settings.runs !== null) fields.add(Tag.runs, ...[settings.runs.settled, ...settings.runs.generations].map(varint));
  return Buffer.concat([Buffer.of(FORMAT), fields.finish()]);
}

/** Throws CORRUPT. Fields of later versions are passed over. */
export function decodeHelloSettings(bytes: Buffer): HelloSettings {
  if (bytes[0] !== FORMAT) throw new OperatingError("CORRUPT", `format ${bytes[0]} there, ${FORMAT} here`);
  const fields = new FieldReader(bytes.subarray(1));
  const slotScheme = fields.take(Tag.slotScheme).lastVarint();
  const counts = fields.take(Tag.replicas);
  const runs = fields.has(Tag.runs) ? fields.take(Tag.runs) : null;
  return {
    slotScheme,
    replicas: {
      default: counts.varint(),
      dcs: counts.many((part) => ({ dc: part.sized().toString(), replicas: part.varint() })),
    },
    name: fields.take(Tag.name).rest().toString(),
    members: fields.take(Tag.members).lastVarint(),
    runs: runs === null ? null : { settled: runs.varint(), generations: runs.many((part) => part.varint()) },
  };
}

/** Why a link with this peer is refused, or null. */
export function objectionTo(hello: PeerHello, ours: Admission): PeerObjection | null {
  const settings = (text: string): PeerObjection => ({ reason: "settings", text });
  if (!isMemberId(hello.peerId)) return settings("an id of 16 hexadecimal digits is expected of a member");
  let theirs: HelloSettings;
  try {
    theirs = decodeHelloSettings(hello.settings);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return settings(`the greetings of the two versions do not match (${error.message}): run the same version on all members`);
  }
  if (theirs.slotScheme !== ours.settings.slotScheme) {
    return settings(
      `${nameOf(ours.settings)} hashes keys to slots by scheme ${ours.settings.slotScheme}, ${nameOf(theirs)} by ${theirs.slotScheme}: run the same version on all members`,
    );
  }
  if (ours.clusterId !== null && hello.clusterId !== null && ours.clusterId !== hello.clusterId) {
    return settings(foreignText({ hello, clusterId: ours.clusterId, ours: ours.settings, theirs }));
  }
  if (ours.removed.has(hello.peerId)) {
    const text = `member ${hello.peerId} was removed from this cluster; it may join anew with an empty data directory (--dir)`;
    return { reason: "removed", text };
  }
  if (!isSameReplicas(theirs.replicas, ours.settings.replicas)) {
    return settings(
      `${nameOf(ours.settings)} has --replicas ${replicasText(ours.settings.replicas)}, ${nameOf(theirs)} has ${replicasText(theirs.replicas)}: start the node with the number that its cluster has`,
    );
  }
  if (theirs.runs !== null && isRunLost(theirs.runs, ours.knownRuns)) {
    const text = `${nameOf(ours.settings)} knows a later run of ${nameOf(theirs)} than its data directory does: it is an earlier copy of itself`;
    return { reason: "past", text };
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

/** What this node is set to, and what the ring of this member has. Throws CONFIG. */
export function requireSameReplicas(ours: ReplicaCounts, kept: ReplicaCounts): void {
  if (isSameReplicas(ours, kept)) return;
  const text = `--replicas is ${replicasText(ours)}, the cluster of this member keeps ${replicasText(kept)}`;
  throw new OperatingError("CONFIG", `${text}: start it with --replicas ${replicasText(kept)}`);
}

/** As `--replicas` takes it: `3`, `2,dc2:3`; the default is left out before others. */
export function replicasText({ default: common, dcs }: ReplicaCounts): string {
  const named = dcs.map((entry) => `${entry.dc}:${entry.replicas}`);
  return (named.length > 0 && common === REPLICAS_DEFAULT ? named : [`${common}`, ...named]).join(",");
}
