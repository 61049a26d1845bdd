/** The rules of the ledger, each broken by records that a faulty store might write. */
import { expect } from "chai";
import { actorOf } from "../../../lib/causality/actor.js";
import type { Record, Version } from "../../../lib/causality/record.js";
import { encodeRecord } from "../../../lib/causality/record-encoding.js";
import { VersionVector } from "../../../lib/causality/version-vector.js";
import { DataKeys } from "../../../lib/replica/data-key.js";
import { CausalLedger } from "./causal-ledger.js";
import { History, type OperationName } from "./history.js";

const A = actorOf("store-aa", 1);
const B = actorOf("store-bb", 1);
const KEY = "k";
const DATA_KEY = new DataKeys().of(0, Buffer.from(KEY));
const NOTHING = { records: new Map<string, Buffer>(), hints: [] };
const NEEDED = { copies: 2, read: 2, write: 2, standIns: "strict" } as const;

describe("the causal ledger", () => {
  let history: History;
  let ledger: CausalLedger;
  let stamp: number;
  let stamps: Map<string, number>;

  beforeEach(() => {
    history = new History({ now: () => 0, view: () => ({ wallMs: 0, wallLatestMs: 0, hasFailedLog: false }) });
    ledger = new CausalLedger({ nodes: 2, history, wallOf: () => 0 });
    stamp = 0;
    stamps = new Map();
  });

  function version(actor: string, sequence: number, value: string | null, writeId: string | null = null): Version {
    const type = value === null ? "tombstone" : "string";
    const bytes = value === null ? null : Buffer.from(value);
    // A version has one stamp, wherever it is.
    const known = stamps.get(`${actor}${sequence}${value}`) ?? ++stamp;
    stamps.set(`${actor}${sequence}${value}`, known);
    return { dot: { actor, sequence }, stamp: known, expiryMs: 0, type, value: bytes, writeId, fields: [] };
  }

  function record(versions: readonly Version[], ...seen: readonly (readonly [string, number])[]): Record {
    const dots = [...versions.map(({ dot }) => dot), ...seen.map(([actor, sequence]) => ({ actor, sequence }))];
    return { context: VersionVector.of(...dots), versions: [...versions].sort((a, b) => b.stamp - a.stamp) };
  }

  function store(node: number, stored: Record): void {
    ledger.stored(node, DATA_KEY, encodeRecord(stored));
  }

  function ask(name: OperationName, value: string | null, token: string | null = null): void {
    history.begin({ name, client: "c", node: 0, key: KEY, value, token, needed: NEEDED });
  }

  it("takes concurrent writes for siblings, and what has seen both for their successor", () => {
    for (const value of ["one", "two", "three"]) ask("set", value);
    const one = version(A, 1, "one");
    const two = version(B, 1, "two");
    store(0, record([one]));
    store(1, record([two]));
    store(0, record([one, two]));
    store(0, record([version(A, 2, "three")], [B, 1]));
    store(1, record([version(B, 1, "two")]));
    const [, , three] = ledger.ofKey(KEY).writes;
    expect([...three!.past].map(({ value }) => value)).to.have.members(["one", "two"]);
  });

  it("finds a dot that is given twice, for one key or for two", () => {
    for (const value of ["one", "two"]) ask("set", value);
    store(0, record([version(A, 1, "one")]));
    expect(() => store(0, record([version(A, 1, "two")]))).to.throw("has the dot of another version");
    const other = new DataKeys().of(0, Buffer.from("other"));
    expect(() => ledger.stored(0, other, encodeRecord(record([version(A, 1, null)])))).to.throw(
      "has the dot of a version of k",
    );
  });

  it("finds a hint that is dropped before its target has what it holds", () => {
    ask("set", "one");
    ledger.nodeOfMember.set("member-b", 1);
    const hint = { dataKey: DATA_KEY, target: "member-b" };
    const one = record([version(A, 1, "one")]);
    ledger.hinted(0, hint, encodeRecord(one));
    expect(ledger.waitingHint).to.deep.equal({ node: 0, key: KEY });
    store(1, one);
    ledger.unhinted(0, hint);
    expect(ledger.waitingHint).to.equal(null);
    ask("set", "two");
    ledger.hinted(0, hint, encodeRecord(record([version(B, 1, "two")], [A, 1])));
    expect(() => ledger.unhinted(0, hint)).to.throw("dropped its hint");
  });

  it("finds a version that is gone without anybody having superseded it", () => {
    ask("set", "one");
    ask("set", "two");
    store(0, record([version(A, 1, "one")]));
    store(1, record([version(B, 1, "two")]));
    expect(() => store(1, record([version(B, 1, "two")], [A, 1]))).to.throw("is gone, and nothing superseded it");
  });

  it("finds a store that goes on counting after it lost what it had counted (kv679)", () => {
    ask("set", "one");
    ask("set", "two");
    store(0, record([version(A, 1, "one")]));
    store(1, record([version(A, 1, "one")]));
    ledger.restarted(0, NOTHING);
    expect(() => store(0, record([version(A, 2, "two")]))).to.throw("claims its own earlier write");
  });

  it("finds a version that is there again after it was superseded", () => {
    ask("set", "one");
    ask("set", "two");
    const one = version(A, 1, "one");
    store(0, record([one]));
    store(0, record([version(A, 2, "two")]));
    const two = { ...version(A, 2, "two"), stamp: 2 };
    expect(() => store(1, record([two, one]))).to.throw("is there, though it was superseded");
  });

  it("finds a SET with a context that supersedes more than its client was shown, or less", () => {
    ask("set", "one");
    ask("set", "two");
    ask("set context", "three", "token");
    const one = version(A, 1, "one");
    store(0, record([one]));
    ledger.show(KEY, "token", VersionVector.of(one.dot));
    store(1, record([version(B, 1, "two")]));
    store(0, record([one, { ...version(B, 1, "two"), stamp: 2 }]));
    const three = version(A, 2, "three");
    expect(() => store(0, record([three], [B, 1]))).to.throw("is gone, and nothing superseded it");
    const again = new CausalLedger({ nodes: 2, history, wallOf: () => 0 });
    again.stored(0, DATA_KEY, encodeRecord(record([one])));
    again.show(KEY, "token", VersionVector.of(one.dot));
    const both = encodeRecord(record([one, three]));
    expect(() => again.stored(0, DATA_KEY, both)).to.throw("left a version that its context covers");
  });

  it("finds a plain SET that leaves a version its coordinator held", () => {
    ask("set", "one");
    ask("set", "two");
    const one = version(A, 1, "one");
    store(0, record([one]));
    expect(() => store(0, record([one, version(A, 2, "two")]))).to.throw("left siblings that its coordinator held");
  });

  it("finds one write that is there twice, unless both name the request that it was", () => {
    ask("set", "one");
    const named = [version(A, 1, "one", "request"), version(B, 1, "one", "request")];
    store(0, record([named[0]!]));
    store(1, record([named[1]!]));
    store(0, record(named));
    ask("setnx", "two");
    const unnamed = [version(A, 2, "two"), version(B, 2, "two")];
    store(0, record([unnamed[0]!], [B, 1]));
    store(1, record([unnamed[1]!], [A, 1]));
    expect(() => store(1, record(unnamed))).to.throw("are one write, applied twice");
  });

  it("finds a live record that is removed, though nobody asked", () => {
    ask("set", "one");
    store(0, record([version(A, 1, "one")]));
    expect(() => ledger.removed(0, DATA_KEY)).to.throw("removed a live record");
  });

  it("finds a value under another key than it was written to", () => {
    history.begin({ name: "set", client: "c", node: 0, key: "other", value: "one", token: null, needed: NEEDED });
    expect(() => store(0, record([version(A, 1, "one")]))).to.throw("was written to other");
  });
});
