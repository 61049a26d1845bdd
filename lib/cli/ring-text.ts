/** What `kindred status`, `ring` and `where` print of a node's answers. Pure: answers in, text out. */
import type {
  MemberState,
  OwnershipRow,
  PendingRow,
  RingReply,
  StatusReply,
  TransferRow,
  WhereReply,
  WhereRow,
  WhereVersion,
} from "../commands/cluster-view.js";
import {
  bytes,
  type Column,
  count,
  duration,
  instant,
  type Paint,
  painted,
  percent,
  plural,
  printable,
  renderTable,
  type Style,
  UNKNOWN,
} from "./table.js";

/** Of the id of a cluster or member, enough to tell it from another. */
const ID_DIGITS_SHOWN = 12;

/** The names of members, with the beginning of their ids where several have one name. */
function namesOf(
  members: readonly { readonly id: string; readonly name: string }[],
): (member: { id: string; name: string }) => string {
  const counts = new Map<string, number>();
  for (const { name } of members) counts.set(name, (counts.get(name) ?? 0) + 1);
  return ({ id, name }) => (counts.get(name)! > 1 ? `${name} (${id.slice(0, ID_DIGITS_SHOWN)})` : name);
}

export function statusText(status: StatusReply, style: Style): string {
  const nameOf = namesOf(status.members);
  const columns: readonly Column<StatusReply["members"][number]>[] = [
    { title: "member", align: "left", cell: (row) => `${nameOf(row)}${row.isSelf ? " *" : ""}` },
    { title: "state", align: "left", cell: (row) => row.state, paint: (row) => paintOf(row.state) },
    { title: "for", align: "right", cell: (row) => duration(row.sinceMs === null ? null : status.nowMs - row.sinceMs) },
    { title: "address", align: "left", cell: (row) => row.clientAddress ?? UNKNOWN },
    { title: "host", align: "left", cell: (row) => row.host ?? UNKNOWN },
    { title: "rack", align: "left", cell: (row) => row.rack ?? UNKNOWN },
    { title: "dc", align: "left", cell: (row) => row.dc ?? UNKNOWN },
    { title: "weight", align: "right", cell: (row) => (row.weight === null ? UNKNOWN : String(row.weight)) },
    { title: "owns", align: "right", cell: (row) => percent(row.ownershipPercent) },
    { title: "fair", align: "right", cell: (row) => percent(row.fairPercent) },
    { title: "req/s", align: "right", cell: (row) => count(row.requestsPerSecond) },
    { title: "busy", align: "right", cell: (row) => busy(row.busyPermille) },
    { title: "stored", align: "right", cell: (row) => bytes(row.storedBytes) },
    { title: "hints", align: "right", cell: (row) => count(row.waitingHints) },
    { title: "version", align: "left", cell: (row) => row.softwareVersion ?? UNKNOWN },
  ];
  const { clusterId, ringVersion, replicas, members } = status;
  const ring = { clusterId, version: ringVersion, replicas: { default: replicas.default, ...replicas.dcs } };
  const title = titleOf(ring, members);
  const table = renderTable(columns, members, style);
  const asked = members.some((row) => row.isSelf) ? "* answered\n" : "";
  return [
    painted(title, "title", style),
    `\n\n${table}${asked}`,
    paragraph([...status.pending.map(pendingText), ...(status.transfers ?? []).map(transferText)]),
    paragraph(status.warnings.map((text) => `${painted("warning:", "doubtful", style)} ${printable(text)}`)),
  ].join("");
}

export function ringText(ring: RingReply, style: Style): string {
  const columns: readonly Column<OwnershipRow>[] = [
    { title: "member", align: "left", cell: (row) => row.name },
    { title: "id", align: "left", cell: (row) => row.id },
    { title: "host", align: "left", cell: (row) => row.host ?? UNKNOWN },
    { title: "rack", align: "left", cell: (row) => row.rack ?? UNKNOWN },
    { title: "dc", align: "left", cell: (row) => row.dc ?? UNKNOWN },
    { title: "weight", align: "right", cell: (row) => (row.weight === null ? UNKNOWN : String(row.weight)) },
    { title: "tokens", align: "right", cell: (row) => count(row.tokens) },
    { title: "slots", align: "right", cell: (row) => count(row.slots) },
    { title: "owns", align: "right", cell: (row) => percent(row.ownershipPercent) },
    { title: "fair", align: "right", cell: (row) => percent(row.fairPercent) },
    { title: "of fair", align: "right", cell: ofFair },
  ];
  const notes = [];
  if (ring.pending.length > 0) {
    notes.push(
      `${plural(ring.pending.length, "change", "changes")} pending; the one under way moves ${plural(ring.slotsChanging, "slot", "slots")}`,
    );
  }
  if (ring.removed.length > 0)
    notes.push(`${plural(ring.removed.length, "id was", "ids were")} removed and will not be let in again`);
  return [
    painted(titleOf(ring, ring.ownership), "title", style),
    `\n\n${renderTable(columns, ring.ownership, style)}`,
    `${count(ring.tokens)} tokens; owns: part of all slots that a member keeps a copy of; fair: what its weight gives it\n`,
    paragraph(notes),
  ].join("");
}

export function whereText(where: WhereReply, style: Style): string {
  const nameOf = namesOf(where.members);
  const columns: readonly Column<WhereLine>[] = [
    { title: "rank", align: "right", cell: ({ row }) => (row === null ? "" : String(row.rank)) },
    { title: "member", align: "left", cell: ({ row }) => (row === null ? "" : nameOf(row)) },
    ...(new Set(where.members.map(({ dc }) => dc)).size > 1 ? [dcColumn] : []),
    { title: "role", align: "left", cell: ({ row }) => row?.role ?? "" },
    { title: "state", align: "left", cell: ({ row }) => row?.state ?? "", paint: ({ row }) => paintOf(row?.state ?? "up") },
    { title: "answer", align: "left", cell: ({ row }) => row?.answer ?? "", paint: ({ row }) => paintOfAnswer(row) },
    { title: "version", align: "left", cell: ({ version }) => version?.dot ?? UNKNOWN },
    { title: "clock", align: "left", cell: ({ version }) => version?.clock ?? UNKNOWN },
    { title: "written", align: "left", cell: ({ version }) => (version === null ? UNKNOWN : instant(version.stampMs)) },
    { title: "value", align: "right", cell: ({ version }) => valueText(version) },
    { title: "expires", align: "left", cell: ({ version }) => expiryText(version) },
  ];
  const lines = where.members.flatMap(linesOf);
  const notes = where.members.flatMap((row) =>
    row.answer === "unreachable" ? `${row.name} did not answer: ${row.reason}` : [],
  );
  return [
    painted(printable(`key "${where.key}" of database ${where.database} is in slot ${where.slot}`), "title", style),
    `\n\n${renderTable(columns, lines, style)}`,
    `${agreement(where.members)}\n`,
    paragraph(notes.map(printable)),
  ].join("");
}

/** Where there are several. */
const dcColumn: Column<WhereLine> = { title: "dc", align: "left", cell: ({ row }) => row?.dc ?? "" };

/** A member's line has its first version; its further versions have lines of their own. */
interface WhereLine {
  readonly row: WhereRow | null;
  readonly version: WhereVersion | null;
}

function linesOf(row: WhereRow): WhereLine[] {
  const versions = row.answer === "holds" ? row.versions : [];
  const first = { row, version: versions[0] ?? null };
  return [first, ...versions.slice(1).map((version) => ({ row: null, version }))];
}

/** Do those who answered hold the same? */
function agreement(rows: readonly WhereRow[]): string {
  const answered = rows.filter((row) => row.answer !== "unreachable");
  if (answered.length === 0) return "nobody answered";
  const held = answered.map((row) => (row.answer === "holds" ? row.versions : []));
  const dots = new Set(held.map((versions) => versions.map(({ dot }) => dot).join(" ")));
  const who = answered.length === rows.length ? "all" : `the ${answered.length} of ${rows.length} that answered`;
  const siblings = Math.max(...held.map((versions) => versions.length));
  if (dots.size > 1) return `${who} do not hold the same: a read or anti-entropy will even it out`;
  if (siblings > 1) return `${who} hold the same ${siblings} siblings`;
  return siblings === 0 ? `${who} hold nothing of it` : `${who} hold the same`;
}

function valueText(version: WhereVersion | null): string {
  if (version === null) return UNKNOWN;
  return version.isTombstone ? "removed" : bytes(version.valueBytes);
}

function expiryText(version: WhereVersion | null): string {
  if (version === null || version.expiryMs === null) return UNKNOWN;
  return version.expiryMs === 0 ? "never" : instant(version.expiryMs);
}

function titleOf(
  ring: Pick<RingReply, "clusterId" | "version" | "replicas">,
  members: readonly { readonly dc: string | null }[],
): string {
  const { default: standard, ...dcs } = ring.replicas as RingReply["replicas"] & { default: number };
  const exceptions = Object.entries(dcs).map(([dc, copies]) => `, ${copies} in ${dc}`);
  const cluster = ring.clusterId === "" ? "no cluster" : `cluster ${ring.clusterId.slice(0, ID_DIGITS_SHOWN)}`;
  const centres = new Set(members.flatMap(({ dc }) => dc ?? []));
  const where = centres.size > 1 ? " in each data centre" : "";
  const copies = `${plural(standard, "copy", "copies")} of each key${where}${exceptions.join("")}`;
  return printable(`${cluster}   ring version ${ring.version}   ${copies}`);
}

function transferText({ name, isDone, slotsDone, slots, records, bytes: read }: TransferRow): string {
  const taken = `${count(slotsDone)} of ${plural(slots, "slot", "slots")}, ${plural(records, "record", "records")}, ${bytes(read)}`;
  return printable(`${name} ${isDone ? "has taken in" : "takes in"} ${taken}`);
}

function pendingText({ kind, progress, name, replaces, sinceVersion, waitsFor = [] }: PendingRow): string {
  const alone = kind === "remove" ? `${name} is removed` : `${name} ${kind}s`;
  const what = replaces === null ? alone : `${name} replaces ${replaces.name}`;
  const waits = waitsFor.length === 0 ? "" : `; waits for ${waitsFor.join("; ")}`;
  return printable(`pending: ${what} (${progress}, since version ${sinceVersion})${waits}`);
}

/** Null for a figure that nobody has told, undefined from a node of an earlier version. */
function busy(permille: number | null | undefined): string {
  return permille === null || permille === undefined ? UNKNOWN : `${Math.round(permille / 10)}%`;
}

function ofFair(row: OwnershipRow): string {
  return row.fairPercent === 0 ? UNKNOWN : (row.ownershipPercent / row.fairPercent).toFixed(3);
}

function paintOf(state: MemberState): Paint {
  switch (state) {
    case "up":
      return "good";
    case "down":
      return "bad";
    default:
      return "doubtful";
  }
}

function paintOfAnswer(row: WhereRow | null): Paint {
  if (row === null) return "plain";
  return row.answer === "unreachable" ? "bad" : row.answer === "absent" ? "doubtful" : "good";
}

/** Lines with an empty one before them, or nothing. */
function paragraph(lines: readonly string[]): string {
  return lines.length === 0 ? "" : `\n${lines.join("\n")}\n`;
}
