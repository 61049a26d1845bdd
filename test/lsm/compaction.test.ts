import { expect } from "chai";
import fc from "fast-check";
import {
  type CompactionInput,
  type CompactionOptions,
  type CompactionOutput,
  compactionJob,
} from "../../lib/lsm/compaction.js";
import type { KeyRange } from "../../lib/lsm/compaction-choice.js";
import { PUT, TOMBSTONE } from "../../lib/lsm/entry.js";
import { checkTable } from "../../lib/lsm/table-check.js";
import { jobCursor } from "../../lib/lsm/table-cursor.js";
import { tableFileName } from "../../lib/lsm/table-format.js";
import {
  arbitraryEntries,
  DIRECTORY,
  type Entry,
  noise,
  numbered,
  put,
  sorted,
  TableFixture,
  tombstone,
} from "./table-fixture.js";

const FIRST_OUTPUT = 100;

/** Runs, newest first, as tables of one or two files each. */
function inputsOf(fixture: TableFixture, runs: readonly (readonly Entry[])[]): number[][] {
  let number = 1;
  return runs.map((entries) => {
    const middle = Math.ceil(entries.length / 2);
    const parts = [entries.slice(0, middle), entries.slice(middle)].filter((part) => part.length > 0);
    return parts.map((part) => fixture.write(number++, part).number);
  });
}

function inputOf(fixture: TableFixture, inputs: number[][], changes: Partial<CompactionInput> = {}): CompactionInput {
  return {
    directory: DIRECTORY,
    inputs,
    firstOutputNumber: FIRST_OUTPUT,
    outputNumbers: 1_000,
    tableBytesMax: 1_000_000,
    blockBytes: fixture.blockBytes,
    filterFalsePositives: 0.01,
    nowMs: 0,
    older: [],
    ...changes,
  };
}

function drain(fixture: TableFixture, input: CompactionInput, options?: CompactionOptions) {
  const steps: number[] = [];
  const job = compactionJob(options)({ disk: fixture.disk }, input);
  for (;;) {
    const { done, value } = job.next();
    if (done) return { output: value as CompactionOutput, steps };
    steps.push(value as number);
  }
}

function entriesOf(fixture: TableFixture, output: CompactionOutput): Entry[] {
  const cursor = jobCursor(output.tables.map(({ number }) => fixture.open(number)));
  const entries: Entry[] = [];
  for (let step = cursor.seek(""); step === 1; step = cursor.next()) {
    const { key, kind, buffer, start, end } = cursor;
    entries.push({ key, kind, value: Buffer.from(buffer.subarray(start, end)) });
  }
  return entries;
}

function outputFiles(fixture: TableFixture): string[] {
  return fixture.disk.list(DIRECTORY).filter((name) => name >= tableFileName(FIRST_OUTPUT));
}

describe("lsm compaction job", () => {
  it("keeps of each key what a map would hold, and tombstones only where older tables lie", () => {
    const range: fc.Arbitrary<KeyRange> = fc
      .tuple(fc.string({ unit: fc.constantFrom("a", "b", "\xff"), maxLength: 3 }), fc.string({ maxLength: 3 }))
      .map(([a, b]) => (a <= b ? { first: a, last: b } : { first: b, last: a }));
    const runs = fc.array(arbitraryEntries({ maxLength: 60 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(runs, fc.option(range), fc.constantFrom(300, 2_000, 1_000_000), (runs, older, tableBytesMax) => {
        const fixture = new TableFixture({ blockBytes: 256 });
        const ranges = older === null ? [] : [older];
        const input = inputOf(fixture, inputsOf(fixture, runs), { tableBytesMax, older: ranges });
        const { output } = drain(fixture, input);
        const newest = sorted([...runs].reverse().flat());
        const isNeeded = (key: string) => ranges.some(({ first, last }) => key >= first && key <= last);
        const expected = newest.filter(({ key, kind }) => kind === PUT || isNeeded(key));
        expect(entriesOf(fixture, output)).to.deep.equal(expected);
        expect(output.tombstonesDropped).to.equal(newest.length - expected.length);
        for (const meta of output.tables) checkTable({ disk: fixture.disk, directory: DIRECTORY, number: meta.number, meta });
      }),
      { numRuns: 50 },
    );
  });

  it("cuts its outputs at their size, numbers them in order, and never needs more than it was given", () => {
    const fixture = new TableFixture();
    const entries = numbered(3_000).map(({ key }, index) => put(key, noise(100, index)));
    const inputs = inputsOf(fixture, [entries]);
    const { output } = drain(fixture, inputOf(fixture, inputs, { tableBytesMax: 50_000 }));
    expect(output.tables.map(({ number }) => number)).to.deep.equal(output.tables.map((_, index) => FIRST_OUTPUT + index));
    expect(output.tables.length).to.be.within(6, 8);
    for (const { bytes } of output.tables.slice(0, -1)) expect(bytes).to.be.within(50_000, 60_000);
    const few = inputOf(fixture, inputs, { tableBytesMax: 50_000, firstOutputNumber: 200, outputNumbers: 2 });
    const bounded = drain(fixture, few).output;
    expect(bounded.tables.map(({ number }) => number)).to.deep.equal([200, 201]);
    expect(entriesOf(fixture, bounded)).to.deep.equal(entries);
  });

  it("goes on in bounded steps that tell what they wrote, also when all is dropped", () => {
    const fixture = new TableFixture();
    const entries = numbered(5_000).map(({ key }, index) => put(key, noise(100, index)));
    const { output, steps } = drain(fixture, inputOf(fixture, inputsOf(fixture, [entries])));
    const written = steps.reduce((sum, bytes) => sum + bytes, 0);
    expect(Math.max(...steps)).to.be.below(3 * 4_096);
    expect(written).to.be.within(0.9 * output.bytesWritten, output.bytesWritten);
    const dropping = new TableFixture();
    const tombstones = entries.map(({ key }) => tombstone(key));
    const dropped = drain(dropping, inputOf(dropping, inputsOf(dropping, [tombstones])));
    expect(dropped.output.tables).to.deep.equal([]);
    expect(dropped.steps.length).to.be.above(8);
    expect(outputFiles(dropping)).to.deep.equal([]);
  });

  it("stores what the transform says instead of values, and counts what will expire", () => {
    const fixture = new TableFixture();
    const entries = sorted([put("a", "dies at 500"), put("b", "dies at 9000"), put("c", "lives"), tombstone("d")]);
    const expiryOf = (text: string) => Number(/\d+$/.exec(text)?.[0] ?? Number.POSITIVE_INFINITY);
    const options: CompactionOptions = {
      transform: (_key, bytes, start, end, nowMs) =>
        expiryOf(bytes.toString("latin1", start, end)) <= nowMs ? Buffer.from("dead") : "keep",
      expiresAtMs: (_key, bytes, start, end) => expiryOf(Buffer.from(bytes.subarray(start, end)).toString("latin1")),
    };
    const { output } = drain(fixture, inputOf(fixture, inputsOf(fixture, [entries]), { nowMs: 1_000 }), options);
    const values = entriesOf(fixture, output).map(({ key, value }) => [key, value.toString()]);
    expect(values).to.deep.equal([
      ["a", "dead"],
      ["b", "dies at 9000"],
      ["c", "lives"],
    ]);
    const { expiring } = output.tables[0]!;
    expect(expiring).to.have.length(1);
    expect(expiring[0]).to.include({ bytes: "dies at 9000".length });
    expect(expiring[0]!.byMs).to.be.within(9_000, 17_000);
  });

  it("does not count as droppable what has expired and is kept", () => {
    const fixture = new TableFixture();
    const inputs = inputsOf(fixture, [[put("a")]]);
    const { output } = drain(fixture, inputOf(fixture, inputs, { nowMs: 1_000 }), { expiresAtMs: () => 500 });
    expect(output.tables[0]!.expiring).to.deep.equal([]);
  });

  it("syncs its tables and then their directory, once, and closes all files", () => {
    const fixture = new TableFixture();
    drain(fixture, inputOf(fixture, inputsOf(fixture, [numbered(100), numbered(50)]), { tableBytesMax: 500 }));
    expect(fixture.disk.syncedDirectories).to.deep.equal([DIRECTORY]);
    expect(fixture.disk.openHandles).to.equal(0);
  });

  it("leaves its inputs, and nothing else, when it is cancelled at any step", () => {
    for (let steps = 0; steps < 60; steps++) {
      const fixture = new TableFixture({ blockBytes: 128 });
      const inputs = inputsOf(fixture, [numbered(60, { step: 2 }), numbered(120)]);
      const before = fixture.disk.list(DIRECTORY);
      const input = inputOf(fixture, inputs, { tableBytesMax: 1_000, blockBytes: 128 });
      const job = compactionJob()({ disk: fixture.disk }, input);
      for (let step = 0; step < steps; step++) expect(job.next().done).to.equal(false);
      job.return({ tables: [], bytesRead: 0, bytesWritten: 0, tombstonesDropped: 0 });
      expect(fixture.disk.list(DIRECTORY)).to.deep.equal(before);
      expect(fixture.disk.openHandles).to.equal(0);
    }
  });

  it("fails as corrupt on a damaged input, and leaves no output", () => {
    const fixture = new TableFixture();
    const inputs = inputsOf(fixture, [numbered(3_000).map(({ key }, index) => put(key, noise(100, index)))]);
    const path = `${DIRECTORY}/${tableFileName(2)}`;
    const bytes = fixture.disk.files.get(path)!;
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    expect(() => drain(fixture, inputOf(fixture, inputs, { tableBytesMax: 20_000 }))).to.throw(path);
    expect(outputFiles(fixture)).to.deep.equal([]);
  });

  it("removes a tombstone together with the value that it hides", () => {
    const fixture = new TableFixture();
    const { output } = drain(fixture, inputOf(fixture, inputsOf(fixture, [[tombstone("a")], [put("a"), put("b")]])));
    expect(entriesOf(fixture, output)).to.deep.equal([put("b")]);
    const kept = new TableFixture();
    const older = [{ first: "a", last: "a" }];
    const again = drain(kept, inputOf(kept, inputsOf(kept, [[tombstone("a")], [put("a"), put("b")]]), { older }));
    expect(entriesOf(kept, again.output).map(({ kind }) => kind)).to.deep.equal([TOMBSTONE, PUT]);
  });
});
