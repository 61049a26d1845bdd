import { expect } from "chai";
import { BatchStores } from "../../lib/replica/batch-stores.js";
import { BATCH_CALLS_MAX, BatchBytes } from "../../lib/replica/call-batch.js";
import { DataKeys } from "../../lib/replica/data-key.js";
import { encodedRecordOf } from "../../lib/replica/encoded-record.js";
import { ReplicaKind, readBytesMax, storeBytesMax, writeRead, writeStore } from "../../lib/replica/replica-messages.js";

const keys = new DataKeys();
const dataKeyOf = (name: string): string => keys.of(0, Buffer.from(name));

function addStore(batch: BatchBytes, name: string, record: string): void {
  const dataKey = dataKeyOf(name);
  const start = batch.begin(storeBytesMax(dataKey, record.length));
  const what = { ringVersion: 1, hintFor: null, dataKey };
  batch.end(ReplicaKind.store, writeStore(batch.bytes, start, what, encodedRecordOf(Buffer.from(record))));
}

function addRead(batch: BatchBytes, name: string): void {
  const dataKey = dataKeyOf(name);
  const start = batch.begin(readBytesMax(dataKey));
  batch.end(ReplicaKind.read, writeRead(batch.bytes, start, { ringVersion: 1, dataKey, from: "records" }));
}

function addDamaged(batch: BatchBytes): void {
  const start = batch.begin(8);
  batch.bytes.fill(0xff, start, start + 8);
  batch.end(ReplicaKind.store, start + 8);
}

/** What the stores hold, in order: keys and records, null for a damaged one. */
function contentsOf(stores: BatchStores, count: number): ([string, string] | null)[] {
  return Array.from({ length: count }, () => {
    const store = stores.next();
    if (store === null) return null;
    const { bytes, start, end } = store.record;
    return [store.dataKey, Buffer.from(bytes.subarray(start, end)).toString()];
  });
}

describe("the stores of a batch", () => {
  it("are read before the first is done, in their order, with their keys", () => {
    const stores = new BatchStores();
    for (const round of [1, 2]) {
      const batch = new BatchBytes();
      addStore(batch, "a", `first ${round}`);
      addRead(batch, "b");
      addStore(batch, "c", "second");
      stores.read(batch.view());
      expect(stores.dataKeys.keys).to.deep.equal([dataKeyOf("a"), dataKeyOf("c")]);
      expect(contentsOf(stores, 2)).to.deep.equal([
        [dataKeyOf("a"), `first ${round}`],
        [dataKeyOf("c"), "second"],
      ]);
    }
  });

  it("do not suffer from one that is damaged", () => {
    const stores = new BatchStores();
    const batch = new BatchBytes();
    addStore(batch, "a", "whole");
    addDamaged(batch);
    addStore(batch, "b", "whole too");
    stores.read(batch.view());
    expect(stores.dataKeys.keys).to.deep.equal([dataKeyOf("a"), dataKeyOf("b")]);
    expect(contentsOf(stores, 3)).to.deep.equal([[dataKeyOf("a"), "whole"], null, [dataKeyOf("b"), "whole too"]]);
  });

  it("may be more than members put together", () => {
    const stores = new BatchStores();
    for (const count of [3 * BATCH_CALLS_MAX, 2]) {
      const batch = new BatchBytes();
      for (let number = 0; number < count; number++) addStore(batch, `k${number}`, `${number}`);
      stores.read(batch.view());
      expect(contentsOf(stores, count).at(-1)).to.deep.equal([dataKeyOf(`k${count - 1}`), `${count - 1}`]);
    }
  });

  it("are damage where a record's length is not that of the rest", () => {
    const stores = new BatchStores();
    const batch = new BatchBytes();
    addStore(batch, "a", "whole");
    const bytes = Buffer.from(batch.view());
    bytes[bytes.length - "whole".length - 1]!--;
    stores.read(bytes);
    expect(contentsOf(stores, 1)).to.deep.equal([null]);
  });
});
