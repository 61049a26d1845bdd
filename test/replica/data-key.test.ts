import { expect } from "chai";
import fc from "fast-check";
import { latin1Of } from "../../lib/bytes/latin1.js";
import { slotOf } from "../../lib/bytes/slot.js";
import {
  DATA_END,
  DataKeys,
  databaseOfDataKey,
  dataKeyFloor,
  expiryKey,
  expiryKeyFloor,
  hashOfDataKey,
  rawKeyOf,
  slotOfDataKey,
  splitExpiryKey,
} from "../../lib/replica/data-key.js";

const anyKey = fc.uint8Array({ maxLength: 40 });
const anyDatabase = fc.integer({ min: 0, max: 15 });

describe("data keys", () => {
  it("give back the slot, the database and the raw key", () => {
    const keys = new DataKeys();
    fc.assert(
      fc.property(anyDatabase, anyKey, (database, key) => {
        const dataKey = keys.of(database, key);
        expect(slotOfDataKey(dataKey)).to.equal(slotOf(key));
        expect(databaseOfDataKey(dataKey)).to.equal(database);
        expect(Buffer.from(rawKeyOf(dataKey), "latin1").equals(key)).to.equal(true);
      }),
    );
  });

  it("are the same where they are made ahead, asked for in order or not, and for another database", () => {
    fc.assert(
      fc.property(fc.array(anyKey, { maxLength: 8 }), fc.array(fc.nat({ max: 7 })), anyDatabase, (all, order, database) => {
        const keys = new DataKeys();
        const plain = new DataKeys();
        const made = keys.ahead(3, all);
        expect(made.keys).to.deep.equal(all.map((key) => plain.of(3, key)));
        const inBytes = made.starts.map((start, at) => latin1Of(made.bytes, start, start + made.keys[at]!.length));
        expect(inBytes).to.deep.equal(made.keys);
        for (const at of order) {
          const key = all[at];
          if (key === undefined) expect(keys.of(3, Buffer.from("other"))).to.equal(plain.of(3, Buffer.from("other")));
          else expect(keys.of(at % 2 === 0 ? 3 : database, key)).to.equal(plain.of(at % 2 === 0 ? 3 : database, key));
        }
      }),
    );
  });

  it("made ahead are forgotten when there is nothing ahead, so that a key may change", () => {
    const keys = new DataKeys();
    const key = Buffer.from("one");
    keys.ahead(0, [key]);
    keys.ahead(0, []);
    key.write("two");
    expect(keys.of(0, key)).to.equal(new DataKeys().of(0, Buffer.from("two")));
  });

  it("lie between the floors of their slot, database and hash", () => {
    const keys = new DataKeys();
    fc.assert(
      fc.property(anyDatabase, anyKey, (database, key) => {
        const dataKey = keys.of(database, key);
        const slot = slotOfDataKey(dataKey);
        expect(dataKeyFloor(slot, database, hashOfDataKey(dataKey)) <= dataKey).to.equal(true);
        expect(dataKey < dataKeyFloor(slot, database + 1, 0)).to.equal(true);
        expect(dataKey < DATA_END).to.equal(true);
      }),
    );
  });

  it("stand behind their time in the expiry index, which sorts by time", () => {
    const keys = new DataKeys();
    const anyTime = fc.integer({ min: 0, max: 2 ** 48 - 1 });
    fc.assert(
      fc.property(anyTime, anyTime, anyKey, (one, other, key) => {
        const dataKey = keys.of(3, key);
        expect(splitExpiryKey(expiryKey(one, dataKey))).to.deep.equal({ expiryMs: one, dataKey });
        if (one < other) expect(expiryKey(one, dataKey) < expiryKeyFloor(other)).to.equal(true);
      }),
    );
  });

  it("use the slots of Redis Cluster, hash tags included", () => {
    expect(slotOf(Buffer.from("123456789"))).to.equal(12_739);
    expect(slotOf(Buffer.from("{user1000}.following"))).to.equal(slotOf(Buffer.from("user1000")));
    expect(slotOf(Buffer.from("foo{}{bar}"))).to.equal(slotOf(Buffer.from("foo{}{bar}")));
    expect(slotOf(Buffer.from("foo{{bar}}zap"))).to.equal(slotOf(Buffer.from("{bar")));
    expect(slotOf(Buffer.from("foo{bar}{zap}"))).to.equal(slotOf(Buffer.from("bar")));
  });
});
