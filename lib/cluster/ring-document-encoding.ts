/**
 * The ring document as bytes (docs/FORMATS.md, "Ring document"): tagged fields, so that later versions can add some and
 * earlier ones hand them on untouched. A document has one encoding: equal documents are equal bytes. Reading checks all
 * of it, the checksum first, and answers CORRUPT to whatever is not exactly what would be written.
 */
import { assert, unreachable } from "../assert.js";
import { crc32 } from "../bytes/crc32.js";
import { latin1Of } from "../bytes/latin1.js";
import { messageOf, OperatingError } from "../errors.js";
import { FieldReader, FieldWriter, type PartReader, sized, text, varint } from "./field-encoding.js";
import { MEMBER_ID_BYTES, type Member } from "./member.js";
import {
  CLUSTER_ID_BYTES,
  CLUSTER_KEY_BYTES,
  comingMember,
  type FlushContext,
  faultOfRingDocument,
  goingMember,
  isForced,
  type PendingChange,
  REPLICAS_DEFAULT,
  type RingDocument,
} from "./ring-document.js";

const FORMAT_KEYS_ONLY = 1;
const FORMAT = 2;
const STORE_ID_BYTES = 8;
/** Format and checksum. */
const HEADER_BYTES = 5;

/** Numbers on disk and on the wire: append only. */
const DocumentTag = {
  version: 1,
  clusterId: 2,
  clusterKey: 3,
  replicas: 4,
  members: 5,
  pending: 6,
  removed: 7,
  databases: 8,
  flushContexts: 9,
} as const;
const MemberTag = { id: 1, storeId: 2, name: 3, host: 4, rack: 5, dc: 6, weight: 7, tokens: 8 } as const;
const ChangeTag = { kind: 1, memberId: 2, member: 3, since: 4, forced: 5 } as const;
const ChangeKind = { join: 1, leave: 2, replace: 3, remove: 4 } as const;

/** REQUIRES a document without fault. */
export function encodeRingDocument(document: RingDocument): Buffer {
  assert(faultOfRingDocument(document) === null, "ring document: only one without fault is encoded");
  const fields = new FieldWriter();
  fields.add(DocumentTag.version, varint(document.version));
  fields.add(DocumentTag.clusterId, document.clusterId);
  fields.add(DocumentTag.clusterKey, document.clusterKey);
  const { replicas } = document;
  fields.add(DocumentTag.replicas, varint(replicas.default), ...replicas.dcs.flatMap((d) => [text(d.dc), varint(d.replicas)]));
  fields.add(DocumentTag.members, ...document.members.map((member) => sized(encodeMember(member))));
  fields.add(DocumentTag.pending, ...document.pending.map((change) => sized(encodeChange(change))));
  fields.add(DocumentTag.removed, ...document.removed.map((id) => Buffer.from(id, "hex")));
  fields.add(DocumentTag.databases, ...document.databases.flatMap((d) => [varint(d.database), text(d.settings)]));
  fields.add(DocumentTag.flushContexts, ...document.flushContexts.map(encodeFlushContext));
  const body = fields.finish(document.unknown);
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = FORMAT;
  header.writeUInt32BE(crc32(body), 1);
  return Buffer.concat([header, body]);
}

function encodeMember(member: Member): Buffer {
  const fields = new FieldWriter();
  fields.add(MemberTag.id, Buffer.from(member.id, "hex"));
  fields.add(MemberTag.storeId, Buffer.from(member.storeId, "latin1"));
  fields.add(MemberTag.name, Buffer.from(member.name));
  fields.add(MemberTag.host, Buffer.from(member.host));
  fields.add(MemberTag.rack, Buffer.from(member.rack));
  fields.add(MemberTag.dc, Buffer.from(member.dc));
  fields.add(MemberTag.weight, varint(Math.round(member.weight * 100)));
  let previous = 0;
  const gaps = member.tokens.map((token) => {
    const gap = varint(token - previous);
    previous = token;
    return gap;
  });
  fields.add(MemberTag.tokens, ...gaps);
  return fields.finish(member.unknown);
}

function encodeChange(change: PendingChange): Buffer {
  const fields = new FieldWriter();
  fields.add(ChangeTag.kind, varint(ChangeKind[change.kind]));
  const going = goingMember(change);
  const coming = comingMember(change);
  if (going !== null) fields.add(ChangeTag.memberId, Buffer.from(going, "hex"));
  if (coming !== null) fields.add(ChangeTag.member, encodeMember(coming));
  fields.add(ChangeTag.since, varint(change.since));
  if (isForced(change)) fields.add(ChangeTag.forced, varint(1));
  return fields.finish(change.unknown);
}

function encodeFlushContext({ database, entries }: FlushContext): Buffer {
  const parts = entries.flatMap((entry) => [Buffer.from(entry.storeId, "latin1"), varint(entry.sequence)]);
  return Buffer.concat([varint(database), varint(entries.length), ...parts]);
}

/** Throws CORRUPT for anything that `encodeRingDocument`, or an earlier format, does not write. Owns what it returns. */
export function decodeRingDocument(bytes: Buffer): RingDocument {
  if (bytes[0] === FORMAT_KEYS_ONLY) return decodeKeysOnly(bytes);
  if (bytes[0] !== FORMAT) {
    throw corrupt(`it has format ${bytes[0]}; this version of Kindred reads formats ${FORMAT_KEYS_ONLY} and ${FORMAT}`);
  }
  if (bytes.length < HEADER_BYTES || bytes.readUInt32BE(1) !== crc32(bytes, HEADER_BYTES))
    throw corrupt("its checksum is wrong");
  let document: RingDocument;
  try {
    document = decodeFields(new FieldReader(bytes.subarray(HEADER_BYTES)));
  } catch (error) {
    if (error instanceof OperatingError) throw corrupt(messageOf(error));
    throw error;
  }
  const fault = faultOfRingDocument(document);
  if (fault !== null) throw corrupt(fault);
  if (!encodeRingDocument(document).equals(bytes)) throw corrupt("it is not in its one form");
  return document;
}

/** Format 1: format u8 | cluster id | cluster key. */
function decodeKeysOnly(bytes: Buffer): RingDocument {
  const keyAt = 1 + CLUSTER_ID_BYTES;
  if (bytes.length !== keyAt + CLUSTER_KEY_BYTES) throw corrupt(`format 1 does not have ${bytes.length} bytes`);
  return {
    version: 0,
    clusterId: Buffer.from(bytes.subarray(1, keyAt)),
    clusterKey: Buffer.from(bytes.subarray(keyAt)),
    replicas: { default: REPLICAS_DEFAULT, dcs: [] },
    members: [],
    pending: [],
    removed: [],
    databases: [],
    flushContexts: [],
  };
}

function decodeFields(fields: FieldReader): RingDocument {
  const known = {
    version: fields.take(DocumentTag.version).lastVarint(),
    clusterId: fields.take(DocumentTag.clusterId).rest(),
    clusterKey: fields.take(DocumentTag.clusterKey).rest(),
    replicas: decodeReplicas(fields.take(DocumentTag.replicas)),
    members: fields.take(DocumentTag.members).many((part) => decodeMember(part.sized())),
    pending: fields.take(DocumentTag.pending).many((part) => decodeChange(part.sized())),
    removed: fields.take(DocumentTag.removed).many((part) => part.fixed(MEMBER_ID_BYTES).toString("hex")),
    databases: fields
      .take(DocumentTag.databases)
      .many((part) => ({ database: part.varint(), settings: part.sized().toString() })),
    flushContexts: fields.take(DocumentTag.flushContexts).many(decodeFlushContext),
  };
  return { ...known, ...fields.unknown(DocumentTag.flushContexts) };
}

function decodeReplicas(part: PartReader): RingDocument["replicas"] {
  return { default: part.varint(), dcs: part.many((rest) => ({ dc: rest.sized().toString(), replicas: rest.varint() })) };
}

function decodeMember(bytes: Buffer): Member {
  const fields = new FieldReader(bytes);
  let token = 0;
  const known = {
    id: fields.take(MemberTag.id).rest().toString("hex"),
    storeId: latin1Of(fields.take(MemberTag.storeId).rest()),
    name: fields.take(MemberTag.name).rest().toString(),
    host: fields.take(MemberTag.host).rest().toString(),
    rack: fields.take(MemberTag.rack).rest().toString(),
    dc: fields.take(MemberTag.dc).rest().toString(),
    weight: fields.take(MemberTag.weight).lastVarint() / 100,
    tokens: fields.take(MemberTag.tokens).many((part) => (token += part.varint())),
  };
  return { ...known, ...fields.unknown(MemberTag.tokens) };
}

function decodeChange(bytes: Buffer): PendingChange {
  const fields = new FieldReader(bytes);
  const kind = kindOf(fields.take(ChangeTag.kind).lastVarint());
  const memberId = kind === "join" ? "" : fields.take(ChangeTag.memberId).rest().toString("hex");
  const member = kind === "leave" || kind === "remove" ? null : decodeMember(fields.take(ChangeTag.member).rest());
  const since = fields.take(ChangeTag.since).lastVarint();
  const forced = fields.has(ChangeTag.forced) ? fields.take(ChangeTag.forced).lastVarint() : 0;
  const rest = { since, ...fields.unknown(ChangeTag.forced) };
  switch (kind) {
    case "join":
      return { kind, member: member!, ...rest };
    case "leave":
    case "remove":
      return { kind, memberId, ...rest, ...(forced === 1 ? { isForced: true as const } : {}) };
    case "replace":
      return { kind, memberId, member: member!, ...rest };
    default:
      return unreachable(kind);
  }
}

function kindOf(number: number): PendingChange["kind"] {
  for (const kind of ["join", "leave", "replace", "remove"] as const) if (ChangeKind[kind] === number) return kind;
  throw new OperatingError(
    "CORRUPT",
    `it holds a pending change of kind ${number}, which a later version of Kindred must have written`,
  );
}

function decodeFlushContext(part: PartReader): FlushContext {
  const database = part.varint();
  let left = part.varint();
  const entries: { storeId: string; sequence: number }[] = [];
  // Each entry takes bytes, so a count that is too large ends at the end of the part.
  for (; left > 0; left--) entries.push({ storeId: latin1Of(part.fixed(STORE_ID_BYTES)), sequence: part.varint() });
  return { database, entries };
}

function corrupt(reason: string): OperatingError {
  return new OperatingError("CORRUPT", `the ring document cannot be read: ${reason}`);
}
