/** The arithmetic under the benches: a wrong median or a workload with double keys would make every table wrong. */
import { expect } from "chai";
import { compressSync } from "snappy";
import { together } from "../../bench/cluster.js";
import { rateIn } from "../../bench/front.js";
import { parseOptions, UsageError } from "../../bench/options.js";
import { outcomeIn } from "../../bench/redis-benchmark.js";
import { type Report, render } from "../../bench/report.js";
import { median, summarize } from "../../bench/stats.js";
import { KEY_BYTES, pairKey, pairValue, scramble, VALUE_BYTES } from "../../bench/workload.js";

describe("the benches' statistics", () => {
  it("take the middle value, or the mean of the two in the middle", () => {
    expect(median([3, 100, 1])).to.equal(3);
    expect(median([1, 100, 3, 5])).to.equal(4);
  });

  it("take the ratio round by round, so that a slow round of the machine does not count", () => {
    const summary = summarize([
      { ours: 90, peer: 100 },
      { ours: 9, peer: 10 },
      { ours: 80, peer: 100 },
    ]);
    expect(summary).to.deep.equal({ rounds: 3, ours: 80, peer: 100, ratio: 0.9, ratioMin: 0.8, ratioMax: 0.9 });
  });

  it("read redis-benchmark's rate from its csv output", () => {
    const csv = `"test","rps","avg_latency_ms"\n"SET","1000000.00","0.675"\n"GET","1176470.50","0.576"\n`;
    expect(rateIn(csv, "GET")).to.equal(1_176_470.5);
    expect(rateIn(csv, "MSET")).to.equal(null);
    expect(rateIn("ERROR: no connection", "SET")).to.equal(null);
  });
});

describe("what redis-benchmark prints", () => {
  const printed = [
    "SET: rps=0.0 (overall: -nan) avg_msec=-nan (overall: -nan)\r====== SET ======",
    "Latency by percentile distribution:",
    "99.805% <= 0.783 milliseconds (cumulative count 2996)",
    "99.902% <= 0.799 milliseconds (cumulative count 3000)",
    "",
    "Summary:",
    "  throughput summary: 200000.00 requests per second",
    "  latency summary (msec):",
    "          avg       min       p50       p95       p99       max",
    "        0.135     0.040     0.127     0.191     0.711     0.799",
  ].join("\n");

  it("is read for its rate, p50, p99 and, where there were enough requests, p99.9", () => {
    expect(outcomeIn(printed)).to.deep.equal({ rate: 200_000, p50Ms: 0.127, p99Ms: 0.711, p999Ms: 0.799 });
    expect(outcomeIn(printed.replace("99.902%", "99.900%"))?.p999Ms).to.equal(null);
    expect(outcomeIn("Could not connect")).to.equal(null);
  });

  it("counts as one for runs at the same time: all requests until the slowest is done, and the worst latencies", () => {
    const fast = { rate: 100, p50Ms: 1, p99Ms: 5, p999Ms: 6 };
    const slow = { rate: 50, p50Ms: 2, p99Ms: 4, p999Ms: null };
    expect(together([fast, slow], 100)).to.deep.equal({ rate: 100, p50Ms: 2, p99Ms: 5, p999Ms: null });
  });
});

describe("the benches' table", () => {
  it("marks a missed bar, too few rounds, and why a row has no figure", () => {
    const summary = { rounds: 1, ours: 12_345.6, peer: 20_000, ratio: 0.617, ratioMin: 0.617, ratioMax: 0.617 };
    const report: Report = {
      name: "front",
      ours: "Kindred",
      peer: "redis-server",
      settings: {},
      rows: [
        { kind: "measured", what: "SET", unit: "1/s", bar: { is: "at least", value: 0.9 }, summary },
        { kind: "alone", what: "memory", unit: "MB", bar: { is: "at most", value: 600 }, value: 42.123 },
        { kind: "skipped", what: "GET", reason: "no peer" },
      ],
    };
    const [, set, memory, get] = render(report).split("\n");
    expect(set?.split(/\s{2,}/)).to.deep.equal([
      "SET, 1/s",
      "12,346",
      "20,000",
      "0.62",
      "0.62",
      "0.62",
      ">= 0.9",
      "missed, only 1 rounds",
    ]);
    expect(memory?.split(/\s{2,}/)).to.deep.equal(["memory, MB", "42.12", "<= 600"]);
    expect(get?.split(/\s{2,}/)).to.deep.equal(["GET", "skipped: no peer"]);
  });
});

describe("the benches' options", () => {
  const names = ["front", "engine", "memory"];

  it("choose all benches where none is named", () => {
    expect(parseOptions([], names).chosen).to.deep.equal(names);
    expect(parseOptions(["engine", "--large", "--rounds", "7"], names)).to.deep.include({ chosen: ["engine"] });
    expect(parseOptions(["--large"], names).options.keys).to.deep.equal([1_000_000, 10_000_000]);
  });

  it("refuse unknown names, unknown options and numbers that are none", () => {
    for (const args of [["fornt"], ["--round", "5"], ["--rounds", "0"], ["--keys", "1,x"]]) {
      expect(() => parseOptions(args, names), args.join(" ")).to.throw(UsageError);
    }
  });
});

describe("the benches' workload", () => {
  const KEYS = 200_000;

  it("has distinct keys of their length, spread over the whole range", () => {
    const keys = Array.from({ length: KEYS }, (_, index) => pairKey(index));
    expect(new Set(keys).size).to.equal(KEYS);
    expect(keys.every((key) => key.length === KEY_BYTES)).to.equal(true);
    const firstDigits = new Map<string, number>();
    for (const key of keys) firstDigits.set(key.charAt(0), (firstDigits.get(key.charAt(0)) ?? 0) + 1);
    for (const count of firstDigits.values()) expect(count).to.be.within(KEYS / 16 - KEYS / 160, KEYS / 16 + KEYS / 160);
    expect(firstDigits.size).to.equal(16);
  });

  it("has values of their length, of which about half compresses", () => {
    const block = Buffer.concat(Array.from({ length: 40 }, (_, n) => pairValue(scramble(n))));
    expect(block.length).to.equal(40 * VALUE_BYTES);
    expect(compressSync(block).length / block.length).to.be.within(0.5, 0.65);
  });
});
