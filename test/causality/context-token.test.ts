import { expect } from "chai";
import fc from "fast-check";
import { ContextTokens } from "../../lib/causality/context-token.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { OperatingError } from "../../lib/errors.js";
import { vector } from "./histories.js";

const clusterKey = Buffer.alloc(32, 5);
const tokens = new ContextTokens({ clusterId: "cluster-1", clusterKey });
const key = Buffer.from("cart:7");

describe("context token", () => {
  it("is printable and opens on any node of the cluster, also after a restart", () => {
    fc.assert(
      fc.property(vector, fc.nat({ max: 15 }), fc.uint8Array({ maxLength: 30 }), (context, database, anyKey) => {
        const token = tokens.mint(database, anyKey, context);
        expect(token).to.match(/^[A-Za-z0-9_-]+$/);
        const elsewhere = new ContextTokens({ clusterId: "cluster-1", clusterKey: Buffer.from(clusterKey) });
        expect(elsewhere.open(database, anyKey, token).entries).to.deep.equal(context.entries);
      }),
    );
  });

  it("is refused for another key, database, cluster or cluster key", () => {
    const token = tokens.mint(0, key, VersionVector.EMPTY);
    expectRefused(() => tokens.open(0, Buffer.from("cart:8"), token));
    expectRefused(() => tokens.open(1, key, token));
    expectRefused(() => new ContextTokens({ clusterId: "cluster-2", clusterKey }).open(0, key, token));
    expectRefused(() => new ContextTokens({ clusterId: "cluster-1", clusterKey: Buffer.alloc(32, 6) }).open(0, key, token));
  });

  it("is refused with any character or bit changed, removed or added", () => {
    fc.assert(
      fc.property(vector, fc.nat(), fc.constantFrom(..."AB9-_=+/ \n\xff"), (context, position, character) => {
        const token = tokens.mint(0, key, context);
        const at = position % token.length;
        const [before, after] = [token.slice(0, at), token.slice(at + 1)];
        if (token[at] !== character) expectRefused(() => tokens.open(0, key, before + character + after));
        expectRefused(() => tokens.open(0, key, before + after));
        expectRefused(() => tokens.open(0, key, before + character + token.slice(at)));
        expectRefused(() => tokens.open(0, key, token + character));
        const bytes = Buffer.from(token, "base64url");
        bytes[position % bytes.length]! ^= 1 << (position % 8);
        expectRefused(() => tokens.open(0, key, bytes.toString("base64url")));
      }),
    );
  });

  it("is refused when it is something else altogether, however long", () => {
    for (const text of ["", "A", "context", "A".repeat(1_000), "A".repeat(5_000_000), "\xff\xfe\0"]) {
      expectRefused(() => tokens.open(0, key, text));
    }
    fc.assert(fc.property(fc.string({ maxLength: 200 }), (text) => expectRefused(() => tokens.open(0, key, text))));
  });

  it("keeps its form, so that clients may hold one over an upgrade", () => {
    const context = VersionVector.of({ actor: "store-xx\0\0\0\x01", sequence: 3 });
    const token = "AVUeCggMoZk-CWNsdXN0ZXItMQFzdG9yZS14eAAAAAEDdNLpsyDdXVbs9IoTF-Lavw";
    expect(tokens.mint(2, key, context)).to.equal(token);
    expect(tokens.open(2, key, token).entries).to.deep.equal(context.entries);
  });
});

function expectRefused(open: () => unknown): void {
  let thrown: unknown = null;
  try {
    open();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).to.be.instanceOf(OperatingError);
  expect(thrown).to.include({ code: "ARGUMENT", message: "context is not of this key" });
}
