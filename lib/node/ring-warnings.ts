/** What an operator should know of a ring at present, a sentence each: what `kindred status` warns of. */
import { SLOTS } from "../bytes/slot.js";
import type { MemberReport } from "../cluster/gossip.js";
import type { MemberId } from "../cluster/member.js";
import { dcsOf, type ReplicaCounts, replicasOfDc } from "../cluster/preference-table.js";
import { REUNION_ADVICE } from "../cluster/reunion.js";
import type { Ring } from "../cluster/ring.js";
import { isTooOld } from "../cluster/ring-changes.js";
import type { MemberRow } from "../commands/cluster-view.js";

const UNTIL_UPGRADED = "until then copies are not compared with it, and no member can leave or be removed";

export interface RingNews {
  readonly ring: Ring;
  /** Of all members, with their states. */
  readonly rows: readonly MemberRow[];
  /** Gossip's. */
  readonly reports: readonly MemberReport[];
  /** Members whom this node, restored with its whole cluster, has not heard of yet: their names. */
  readonly awaited: readonly string[];
}

export function warningsOf({ ring, rows, reports, awaited }: RingNews): readonly string[] {
  const warnings: string[] = [];
  const joined = new Set(ring.document.members.map((member) => member.id));
  const silent = rows.filter((row) => joined.has(row.id) && (row.state === "down" || row.state === "suspect"));
  for (const { name, state } of silent) {
    warnings.push(state === "down" ? `${name} is down` : `${name} has not been heard of for a while`);
  }
  const majority = Math.floor(joined.size / 2) + 1;
  if (joined.size - silent.length < majority) {
    warnings.push(
      `${joined.size - silent.length} of ${joined.size} members are heard of: the ring cannot change until ${majority} are`,
    );
  }
  if (awaited.length > 0) {
    const who = `${awaited.join(", ")} ${awaited.length === 1 ? "is" : "are"}`;
    warnings.push(`this cluster was restored: its ring cannot change until ${who} heard of; ${REUNION_ADVICE}`);
  }
  const short = slotsBelowQuorum(ring, new Set(silent.map((row) => row.id)));
  if (short > 0) {
    // With enough others up, stand-ins keep what is written meanwhile.
    const copies = Math.floor(ring.current.width / 2) + 1;
    const what = joined.size - silent.length < copies ? "QUORUM" : "STRICT QUORUM";
    warnings.push(`${short} of ${SLOTS} slots have fewer than a majority of their copies up: ${what} fails there`);
  }
  const centres = dcsOf(ring.document.members);
  for (const dc of centres.length === 1 ? [] : centres) {
    const isUp = rows.some((row) => row.dc === dc && joined.has(row.id) && !silent.includes(row));
    if (!isUp) warnings.push(`no member of data centre ${dc} is up: EACH_QUORUM fails`);
  }
  warnings.push(...missingCopies(ring, centres), ...strayCentres(ring.document.replicas, centres));
  if (ring.current.degradedReason !== null) warnings.push(ring.current.degradedReason);
  else if (ring.next?.degradedReason) warnings.push(`after the change: ${ring.next.degradedReason}`);
  const versions = new Set(reports.map(({ member }) => member.contents.softwareVersion).filter((text) => text !== ""));
  if (versions.size > 1) warnings.push(`members run different versions: ${[...versions].sort().join(", ")}`);
  for (const { name, protocolVersion } of rows) {
    if (isTooOld(protocolVersion)) warnings.push(`${name} speaks protocol ${protocolVersion}: upgrade it; ${UNTIL_UPGRADED}`);
  }
  for (const { member, status } of reports) {
    const { ringVersion, name } = member.contents;
    if (status !== "up" || !joined.has(member.id) || ringVersion >= ring.document.version) continue;
    warnings.push(`${name} still has version ${ringVersion} of the ring (${ring.document.version} is the newest)`);
  }
  return warnings;
}

/** That keys have fewer copies than are wanted, and where members are missing. */
function missingCopies({ current, document }: Ring, centres: readonly string[]): readonly string[] {
  const wanted = centres.reduce((sum, dc) => sum + replicasOfDc(document.replicas, dc), 0);
  if (current.width >= wanted) return [];
  const membersOf = (dc: string): number => current.members.filter((member) => member.dc === dc).length;
  const poor = centres.filter((dc) => membersOf(dc) < replicasOfDc(document.replicas, dc));
  const where = centres.length > 1 && poor.length > 0 ? ` in ${poor.join(" and ")}` : "";
  return [`each key has ${current.width} of ${wanted} copies until there are more members${where}`];
}

/** Data centres that `--replicas` does not name while another one that it names has no member: one of the two is a slip. */
function strayCentres(replicas: ReplicaCounts, centres: readonly string[]): readonly string[] {
  const named = replicas.dcs.map(({ dc }) => dc);
  const empty = named.filter((dc) => !centres.includes(dc));
  const stray = centres.filter((dc) => !named.includes(dc));
  if (empty.length === 0) return [];
  const names = empty.join(" and ");
  return stray.map(
    (dc) =>
      `--replicas does not name data centre ${dc}, which keeps ${replicas.default} copies, and no member is in ${names}: a slip?`,
  );
}

function slotsBelowQuorum(ring: Ring, silent: ReadonlySet<MemberId>): number {
  const { current } = ring;
  if (silent.size === 0 || current.width === 0) return 0;
  const isSilent = current.members.map((member) => silent.has(member.id));
  let short = 0;
  for (let slot = 0; slot < SLOTS; slot++) {
    let up = 0;
    for (let rank = 0; rank < current.width; rank++) if (!isSilent[current.replicaAt(slot, rank)]) up++;
    if (up < Math.floor(current.width / 2) + 1) short++;
  }
  return short;
}
