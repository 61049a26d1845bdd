/** CLUSTER WHERE on a node that is alone: what its keyspace shows of a key. */
import { slotOf } from "../bytes/slot.js";
import type { Entry, Keyspace, Scope, Siblings } from "../coordinator/keyspace.js";
import { type ClusterMember, shortId, type WhereAnswer, type WhereReport, type WhereVersion } from "./cluster-view.js";

export async function whereAlone(options: {
  readonly self: ClusterMember;
  readonly keyspace: Keyspace;
  readonly scope: Scope;
  readonly key: Buffer;
}): Promise<WhereReport> {
  const { self, keyspace, key } = options;
  // Siblings are no conflict for who looks at them.
  const scope: Scope = { ...options.scope, consistency: { ...options.scope.consistency, conflicts: "newest" } };
  const siblings = await keyspace.siblings(scope, key);
  const newest = await keyspace.read(scope, key);
  const target = {
    id: shortId(self.id),
    name: `${self.ip}:${self.port}`,
    dc: null,
    role: "replica",
    rank: 1,
    state: "up",
  } as const;
  return { slot: slotOf(key), members: [{ ...target, ...answerOf(siblings, newest) }] };
}

function answerOf(siblings: Siblings | null, newest: Entry | null): WhereAnswer {
  if (siblings === null) return { answer: "absent" };
  const versions = siblings.versions.map(
    ({ value, clock, dot, stampMs }): WhereVersion => ({
      valueBytes: value?.length ?? 0,
      clock,
      dot,
      stampMs,
      isTombstone: value === null,
      // The keyspace tells the expiry of the version that a read answers only.
      expiryMs: siblings.versions.length === 1 && newest !== null ? newest.expiryMs : null,
    }),
  );
  return { answer: "holds", versions, context: null };
}
