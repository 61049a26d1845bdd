/** Members, documents and rings for tests. */
import type { Member } from "../../lib/cluster/member.js";
import type { ReplicaCounts } from "../../lib/cluster/preference-table.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import { chooseTokens } from "../../lib/cluster/token-choice.js";

export const THREE: ReplicaCounts = { default: 3, dcs: [] };

/** Uniform in [0, 1) from a seed (mulberry32). */
export function fractions(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The `number`th member: on a host of its own, all of one rack, without tokens, unless it is said. */
export function memberOf(number: number, differences: Partial<Member> = {}): Member {
  return {
    id: number.toString(16).padStart(16, "0"),
    storeId: number.toString(16).padStart(8, "s"),
    name: `node-${number}`,
    host: `host-${number}`,
    rack: "r1",
    dc: "dc1",
    weight: 1,
    tokens: [],
    ...differences,
  };
}

/** A ring built up one by one, each member choosing its tokens. */
export function ringOf(
  joiners: readonly Member[],
  options: { readonly seed: number; readonly vnodes?: number; readonly replicas?: ReplicaCounts },
): Member[] {
  const fraction = fractions(options.seed);
  const members: Member[] = [];
  for (const joiner of joiners) {
    const { vnodes = 64, replicas = THREE } = options;
    members.push({ ...joiner, tokens: chooseTokens({ members, joiner, replicas, vnodes, fraction }) });
  }
  return members;
}

export function numbered(count: number, make: (number: number) => Member = memberOf): Member[] {
  return Array.from({ length: count }, (_, at) => make(at + 1));
}

export function documentOf(members: readonly Member[], differences: Partial<RingDocument> = {}): RingDocument {
  return {
    version: 1,
    clusterId: Buffer.alloc(16, 1),
    clusterKey: Buffer.alloc(32, 2),
    replicas: THREE,
    members,
    pending: [],
    removed: [],
    databases: [],
    flushContexts: [],
    ...differences,
  };
}
