import { expect } from "chai";
import { Ring } from "../../lib/cluster/ring.js";
import type { MemberRow } from "../../lib/commands/cluster-view.js";
import { warningsOf } from "../../lib/node/ring-warnings.js";
import { documentOf, memberOf, numbered, ringOf } from "../cluster/members.js";

function warningsWith(options: {
  dcOf: (number: number) => string;
  dcs?: readonly { readonly dc: string; readonly replicas: number }[];
  awaited?: readonly string[];
}): readonly string[] {
  const { dcOf, dcs = [], awaited = [] } = options;
  const members = ringOf(
    numbered(4, (number) => memberOf(number, { dc: dcOf(number) })),
    { seed: 1 },
  );
  const rows = members.map(({ id, name, dc }) => ({ id, name, dc, state: "up" }) as MemberRow);
  return warningsOf({ ring: new Ring(documentOf(members, { replicas: { default: 3, dcs } })), rows, reports: [], awaited });
}

describe("what kindred status warns of", () => {
  it("is in which data centre members are missing, and which one may be a slip", () => {
    const dcOf = (number: number): string => (number === 4 ? "eats" : "west");
    const missing = "each key has 4 of 6 copies until there are more members in eats";
    expect(warningsWith({ dcOf })).to.deep.equal([missing]);
    expect(warningsWith({ dcOf, dcs: [{ dc: "west", replicas: 3 }] })).to.deep.equal([missing]);
    const dcs = ["east", "west"].map((dc) => ({ dc, replicas: 3 }));
    expect(warningsWith({ dcOf, dcs })).to.deep.equal([
      missing,
      "--replicas does not name data centre eats, which keeps 3 copies, and no member is in east: a slip?",
    ]);
  });

  it("is for whom a restored cluster waits, and what to do if they do not come", () => {
    const dcOf = (): string => "dc1";
    const advice = "who does not come back has to be named when the others are restored (kindred restore --without)";
    expect(warningsWith({ dcOf, awaited: ["node-2"] })).to.deep.equal([
      `this cluster was restored: its ring cannot change until node-2 is heard of; ${advice}`,
    ]);
    expect(warningsWith({ dcOf, awaited: ["node-2", "node-4"] })).to.deep.equal([
      `this cluster was restored: its ring cannot change until node-2, node-4 are heard of; ${advice}`,
    ]);
    expect(warningsWith({ dcOf })).to.deep.equal([]);
  });
});
