import { expect } from "chai";
import { ScalePolicy } from "../../lib/autoscale/policy.js";
import { Lcg } from "../resp/lcg.js";
import { SETTINGS, Trace } from "./trace.js";

describe("the autoscale policy", () => {
  it("grows one by one when the load has stepped up and stays, and no further than it takes", () => {
    const trace = new Trace();
    trace.load = (seconds) => (seconds < 300 ? 0.9 : 2.6);
    trace.minutes(60);
    // 2.6 of 3 is 87%, of 4 it is 65%, of 5 it is 52% of the 60% that are to be.
    expect(trace.begun).to.deep.equal(["330 grow to 4", "410 grow to 5"]);
    expect(trace.last).to.deep.equal({ kind: "stay", topic: "within", reason: "busy 52% of 60%" });
  });

  it("shrinks one by one when the load has stepped down, with pauses, to what carries it", () => {
    const trace = new Trace({}, 6);
    trace.load = (seconds) => (seconds < 1_200 ? 3 : 1.5);
    trace.minutes(120);
    // 1.5 of 4 is 38%; of 3 it would be 50%, more than seven tenths of the 60%.
    expect(trace.begun).to.deep.equal(["1470 shrink to 5", "2090 shrink to 4"]);
    expect(trace.topics).to.include.members(["pending", "quiet, pausing"]);
  });

  it("says what it saw: how busy, for how long, and what it will be", () => {
    const up = new Trace();
    up.load = () => 2.4;
    up.minutes(0.5);
    expect(up.look()).to.deep.include({ kind: "grow", reason: "busy 80% of 60%, too much for 30 s" });
    const down = new Trace({ shrinkPauseMs: 0 }, 5);
    down.load = () => 1;
    down.minutes(5);
    const reason = "busy 20% of 60% for 5 min; without node-e it is 42% of the target";
    expect(down.look()).to.deep.include({ kind: "shrink", name: "node-e", memberId: "e".repeat(16), ringVersion: 5, reason });
  });

  it("does nothing for noise around either mark", () => {
    // Of three members 1.8 is the high mark, of four 1.26 the low one.
    for (const [members, centre] of [
      [3, 0.9 * 1.8],
      [4, 1.2 * 1.26],
    ] as const) {
      const random = new Lcg(7);
      const trace = new Trace({}, members);
      // A fifth more or less, at random.
      trace.load = () => centre * (0.8 + random.below(400) / 1_000);
      trace.minutes(6 * 60);
      expect(trace.begun, `${centre}`).to.deep.equal([]);
    }
  });

  it("does nothing for a crowd that is gone before a member could have come", () => {
    const trace = new Trace();
    trace.load = (seconds) => (seconds % 600 < 20 ? 3 : 1);
    trace.minutes(120);
    expect(trace.begun).to.deep.equal([]);
    expect(trace.topics).to.include("over, too soon");
  });

  it("follows days without flapping: each day up as far as it takes, and down again", () => {
    const trace = new Trace();
    const dayS = 86_400;
    trace.load = (seconds) => 2.6 - 1.8 * Math.cos((2 * Math.PI * seconds) / dayS);
    trace.minutes(3 * 24 * 60);
    const words = trace.begun.map((text) => text.split(" ")[1]);
    expect(words.filter((word) => word === "grow").length).to.equal(3 * 5);
    expect(words.filter((word) => word === "shrink").length).to.equal(3 * 5);
    // Up in one go, down in one go: it never changes its mind in between.
    const turns = words.filter((word, at) => at > 0 && word !== words[at - 1]).length;
    expect(turns).to.equal(5);
    expect(Math.max(...trace.begun.map((text) => Number(text.split(" ").at(-1))))).to.equal(8);
  });

  it("never shrinks into what would make it grow again", () => {
    for (let load = 0.2; load < 5; load += 0.05) {
      const trace = new Trace({}, 9);
      trace.load = () => load;
      trace.minutes(4 * 60);
      const kinds = new Set(trace.begun.map((text) => text.split(" ")[1]));
      expect(kinds.size, `${load}: ${trace.begun}`).to.be.at.most(1);
    }
  });

  it("leaves one hot member alone, and says so: another would take little from it", () => {
    const trace = new Trace();
    trace.each = ({ name }) => (name === "node-b" ? { busyPermille: 980 } : {});
    trace.load = () => 0.6;
    trace.minutes(60);
    expect(trace.begun).to.deep.equal([]);
    const reason =
      "node-b alone is at 163% of the target, all together at 77%: spread its clients or keys, another member would take little from it";
    expect(trace.last).to.deep.equal({ kind: "stay", topic: "one is hot", reason });
  });

  it("begins nothing while a member is down or suspect, whatever the load, and waits anew once it is back", () => {
    for (const state of ["down", "suspect"] as const) {
      const trace = new Trace();
      trace.load = () => 2.6;
      trace.run(25_000);
      trace.each = ({ name }) => (name === "node-c" ? { state } : {});
      trace.minutes(30);
      expect(trace.begun).to.deep.equal([]);
      expect(trace.last).to.deep.include({ kind: "stay", topic: "not up" });
      expect(trace.last!.reason).to.include("node-c");
      trace.each = () => ({});
      const backS = trace.seconds;
      trace.minutes(1);
      expect(trace.begun).to.deep.equal([`${backS + 30} grow to 4`]);
    }
  });

  it("begins nothing while a change is under way, also one that it did not ask for", () => {
    const trace = new Trace();
    trace.load = () => 2.6;
    trace.differences = { pending: [{ kind: "replace", name: "node-x" }] };
    trace.minutes(30);
    expect(trace.begun).to.deep.equal([]);
    expect(trace.last!.reason).to.equal("a change of the ring is under way (replace of node-x)");
  });

  it("waits for what it asked for, says when that takes too long, and goes on when it has come", () => {
    const trace = new Trace();
    trace.load = () => 2.9;
    trace.changeMs = 45 * 60_000;
    trace.minutes(20);
    expect(trace.begun).to.deep.equal(["30 grow to 4"]);
    expect(trace.last).to.deep.include({ kind: "stay", topic: "pending" });
    trace.minutes(20);
    expect(trace.last).to.deep.include({ kind: "stay", topic: "overdue" });
    expect(trace.last!.reason).to.equal(
      "4 members were asked for 39 min ago, and that has not ended (join of node-d): nothing else is begun until it has",
    );
    trace.changeMs = 20_000;
    trace.minutes(10);
    expect(trace.begun).to.deep.equal(["30 grow to 4", "2790 grow to 5"]);
  });

  it("waits for a member that nothing is seen of yet", () => {
    const policy = new ScalePolicy(SETTINGS);
    const trace = new Trace();
    policy.noteBegun(4, trace.atMs);
    trace.atMs += 12_000;
    expect(policy.decide(trace.observation())).to.deep.equal({
      kind: "stay",
      topic: "awaiting",
      reason: "waiting until there are 4 members (12 s)",
    });
  });

  it("pauses when an attempt failed, then tries again", () => {
    const trace = new Trace();
    trace.load = () => 2.6;
    trace.run(30_000);
    const decision = trace.policy.decide(trace.observation());
    expect(decision.kind).to.equal("grow");
    trace.policy.noteFailed("exit code 3", trace.atMs);
    trace.run(60_000);
    expect(trace.topics.at(-1)).to.equal("failed");
    trace.run(5_000);
    expect(trace.begun.length).to.equal(1);
  });

  it("begins nothing by loads that are missing, old, or not told", () => {
    for (const [lack, reason] of [
      [{ heardAgoMs: null }, "nothing is known of the load of node-b"],
      [{ heardAgoMs: 16_000 }, "the load of node-b is 16 s old"],
      [{ busyPermille: null }, "node-b does not tell how busy it is"],
      [{ diskFreeBytes: null }, "node-b does not tell how full its disk is"],
    ] as const) {
      const trace = new Trace();
      trace.load = () => 2.9;
      trace.each = ({ name }) => (name === "node-b" ? lack : {});
      trace.minutes(30);
      expect(trace.begun).to.deep.equal([]);
      expect(trace.last).to.deep.equal({ kind: "stay", topic: "unknown", reason });
    }
  });

  it("waits anew when it has not looked for a while", () => {
    const trace = new Trace();
    trace.load = () => 2.6;
    trace.run(30_000);
    trace.atMs += 60_000;
    trace.run(30_000);
    expect(trace.begun).to.deep.equal([]);
    trace.look();
    expect(trace.begun.length).to.equal(1);
  });

  it("goes neither above the most nor below the least, and says so", () => {
    const high = new Trace({ max: 4 });
    high.load = () => 4;
    high.minutes(60);
    expect(high.begun).to.deep.equal(["30 grow to 4"]);
    expect(high.last!.reason).to.equal("busy 100% of 60%: too much, but 4 members are the most there may be");
    const low = new Trace({ min: 4 }, 5);
    low.load = () => 0;
    low.minutes(120);
    expect(low.begun).to.deep.equal(["600 shrink to 4"]);
    expect(low.last!.reason).to.equal("disk 10% of 70%: quiet, but at least 4 members are to be there");
  });

  it("with as many at least as at most it only fills up", () => {
    const trace = new Trace({ min: 4, max: 4 });
    for (const load of [0, 4]) {
      trace.load = () => load;
      trace.minutes(60);
      expect(trace.begun).to.deep.equal(["0 grow to 4"]);
    }
  });

  it("never goes below as many hosts as there are copies, however many members there are", () => {
    const trace = new Trace({ min: 1 }, 6);
    trace.load = () => 0;
    // Two members a host.
    trace.each = ({ name }) => ({ host: `host-${Math.floor((name.charCodeAt(5) - 97) / 2)}` });
    trace.minutes(300);
    expect(trace.names.join("")).to.equal("ace");
    expect(trace.last).to.deep.equal({
      kind: "stay",
      topic: "quiet, hosts",
      reason: "quiet, but without node-e there would be 2 hosts in dc1 for 3 copies of each key",
    });
  });

  it("counts the hosts of each data centre by itself", () => {
    const trace = new Trace({ min: 1 }, 6);
    trace.load = () => 0;
    trace.differences = { replicas: { default: 3, dcs: { dc2: 2 } } };
    trace.each = ({ name }) => ({ dc: name < "node-d" ? "dc1" : "dc2" });
    trace.minutes(300);
    expect(trace.names.join("")).to.equal("abcde");
  });

  it("takes away only whom the provider can, the first that may go", () => {
    const trace = new Trace({ min: 1 }, 6);
    trace.load = () => 0;
    trace.differences = { leavers: ["b".repeat(16), "e".repeat(16)] };
    trace.minutes(300);
    expect(trace.names.join("")).to.equal("acdf");
  });

  it("looks at requests by weight", () => {
    const targets = { busy: null, requests: 1_000, disk: null };
    const trace = new Trace({ targets });
    // 2,700 for a weight of 4 are fewer than 1,000 each, 4,800 are more.
    trace.each = ({ name }) => (name === "node-a" ? { weight: 2, requestsPerSecond: 2_700 } : { requestsPerSecond: 0 });
    trace.minutes(30);
    expect(trace.begun).to.deep.equal([]);
    trace.each = ({ name }) => (name === "node-a" ? { weight: 2, requestsPerSecond: 4_800 } : { requestsPerSecond: 0 });
    trace.minutes(1);
    expect(trace.begun).to.deep.equal(["1830 grow to 4"]);
    expect(trace.policy.sample).to.not.equal(null);
  });

  it("looks at the fullest disk, not at the mean of all", () => {
    const trace = new Trace();
    trace.each = ({ name }) => (name === "node-c" ? { storedBytes: 80, diskFreeBytes: 20 } : {});
    trace.minutes(0.5);
    expect(trace.look()).to.deep.include({ kind: "grow", to: 4, reason: "disk 80% of 70%, too much for 30 s" });
  });

  it("does not shrink where what is stored would not fit", () => {
    const trace = new Trace({}, 4);
    trace.load = () => 0;
    trace.each = () => ({ storedBytes: 40, diskFreeBytes: 60 });
    trace.minutes(300);
    expect(trace.begun).to.deep.equal([]);
  });

  it("after a start waits before it shrinks as after a change, and not before it grows", () => {
    const quiet = new Trace({}, 4);
    quiet.load = () => 0;
    quiet.minutes(12);
    expect(quiet.begun).to.deep.equal(["600 shrink to 3"]);
    const busy = new Trace();
    busy.load = () => 2.9;
    busy.minutes(1);
    expect(busy.begun).to.deep.equal(["30 grow to 4"]);
  });

  it("one that is weighty counts for as much when it goes", () => {
    const trace = new Trace({}, 4);
    trace.load = () => 0.9;
    // What one of weight 3 did of 6 would make the others' load twice as much, 46%, which is not below 42%.
    trace.each = ({ name }) => (name === "node-d" ? { weight: 3 } : {});
    trace.minutes(11);
    expect(trace.names.join("")).to.equal("abd");
  });
});
