import { expect } from "chai";
import { DecisionLog } from "../../lib/autoscale/decision-log.js";
import type { ObservedMember } from "../../lib/autoscale/observation.js";
import { ScalePolicy } from "../../lib/autoscale/policy.js";
import type { Growth, Provider, Shrinkage } from "../../lib/autoscale/provider.js";
import { RingWatch } from "../../lib/autoscale/ring-watch.js";
import { type ScaleEvent, Supervisor } from "../../lib/autoscale/supervisor.js";
import type { MemberRow, StatusReply } from "../../lib/commands/cluster-view.js";
import { OperatingError } from "../../lib/errors.js";
import { FakeClock } from "../commands/fake-clock.js";
import { LOOK_MS, member, SETTINGS } from "./trace.js";

class World implements Provider {
  readonly clock = new FakeClock();
  readonly events: ScaleEvent[] = [];
  readonly asked: string[] = [];
  names = ["a", "b", "c"];
  busyPermille = 900;
  /** What the provider fails with; null: it does what it is asked for. */
  failure: OperatingError | null = null;
  isBlind = false;
  readonly supervisor: Supervisor;

  constructor() {
    this.supervisor = new Supervisor({
      clock: this.clock,
      policy: new ScalePolicy({ ...SETTINGS, shrinkPauseMs: 0 }),
      provider: this,
      look: async () => {
        if (this.isBlind) throw new OperatingError("UNAVAILABLE", "nobody answers");
        return statusOf(this.names, this.busyPermille);
      },
      periodMs: LOOK_MS,
      report: (event) => this.events.push(event),
    });
  }

  leavers(members: readonly ObservedMember[]): readonly string[] {
    return members.map(({ id }) => id).reverse();
  }

  async grow({ to, names }: Growth): Promise<void> {
    this.asked.push(`grow to ${to} beside ${names.join(" ")}`);
    if (this.failure !== null) throw this.failure;
  }

  async shrink({ to, member: { name, clientAddress }, ringVersion }: Shrinkage): Promise<void> {
    this.asked.push(`shrink to ${to}: ${name} at ${clientAddress} of version ${ringVersion}`);
  }

  async looks(count: number): Promise<this> {
    for (let at = 0; at < count; at++) {
      await this.supervisor.step();
      await new Promise((resolve) => setImmediate(resolve));
      this.clock.advance(LOOK_MS);
    }
    return this;
  }
}

function statusOf(letters: readonly string[], busyPermille: number): StatusReply {
  const members = letters.map(
    (letter): MemberRow => ({
      ...member(letter, { busyPermille }),
      rack: "r1",
      clientAddress: `10.0.0.1:${letter.charCodeAt(0)}`,
      peerAddress: null,
      sinceMs: 0,
      ownershipPercent: 100,
      fairPercent: 100,
      waitingHints: 0,
      softwareVersion: "1",
      protocolVersion: 2,
      isSelf: letter === "a",
    }),
  );
  const replicas = { default: 3, dcs: {} };
  return { ringVersion: 7, clusterId: "", replicas, members, pending: [], transfers: [], warnings: [], nowMs: 0 };
}

describe("the autoscale supervisor", () => {
  it("asks the provider once, and for nothing more until the ring shows what came of it", async () => {
    const world = await new World().looks(60);
    expect(world.asked).to.deep.equal(["grow to 4 beside node-a node-b node-c"]);
    world.names.push("d");
    await world.looks(30);
    expect(world.asked.length).to.equal(2);
  });

  it("has a member leave the ring that it has looked at", async () => {
    const world = new World();
    world.names.push("d");
    world.busyPermille = 10;
    await world.looks(62);
    expect(world.asked).to.deep.equal(["shrink to 3: node-d at 10.0.0.1:100 of version 7"]);
  });

  it("says what failed, and tries again after a pause", async () => {
    const world = new World();
    world.failure = new OperatingError("UNAVAILABLE", "exit code 7");
    await world.looks(8);
    const failed = world.events.find(({ kind }) => kind === "failed");
    expect(failed).to.deep.equal({ kind: "failed", what: "one more, 4", reason: "exit code 7" });
    expect(world.asked.length).to.equal(1);
    await world.looks(10);
    expect(world.asked.length).to.equal(1);
    await world.looks(1);
    expect(world.asked.length).to.equal(2);
  });

  it("begins nothing while nobody can be asked, and says so", async () => {
    const world = await new World().looks(5);
    world.isBlind = true;
    await world.looks(30);
    expect(world.events.at(-1)).to.deep.equal({ kind: "blind", reason: "nobody answers" });
    world.isBlind = false;
    await world.looks(5);
    expect(world.asked).to.deep.equal([]);
  });

  it("ends when it is told to, also while it rests", async () => {
    const world = new World();
    const ended = world.supervisor.run();
    await new Promise((resolve) => setImmediate(resolve));
    world.supervisor.stop();
    await ended;
    expect(world.events.length).to.equal(1);
  });
});

describe("a look at the ring", () => {
  it("goes on with the next node where one does not answer, those that it was told of among them", async () => {
    const asked: string[] = [];
    const down = new Set(["first:1"]);
    const watch = new RingWatch({
      named: ["first:1", "second:2"],
      ask: async (address) => {
        asked.push(address);
        if (down.has(address)) throw new OperatingError("UNAVAILABLE", `${address} is down`);
        return statusOf(["a", "b"], 100);
      },
    });
    await watch.look();
    await watch.look();
    down.add("second:2");
    await watch.look();
    expect(asked).to.deep.equal(["first:1", "second:2", "second:2", "second:2", "first:1", "10.0.0.1:97"]);
    down.add("10.0.0.1:97");
    down.add("10.0.0.1:98");
    const failure = await watch.look().catch((error: OperatingError) => error);
    expect(failure).to.be.instanceOf(OperatingError);
    expect((failure as OperatingError).message).to.equal("none of 4 nodes answers; the last: 10.0.0.1:98 is down");
  });
});

describe("the log of decisions", () => {
  const status = statusOf(["a", "b", "c"], 300);
  const event = (reason: string): ScaleEvent => ({
    kind: "decision",
    decision: { kind: "stay", topic: "within", reason },
    status,
    sample: null,
  });

  it("says what changed, and the same again after a minute", () => {
    let output = "";
    const log = new DecisionLog({ targets: SETTINGS.targets, format: "lines", output: (text) => void (output += text) });
    log.note(event("busy 30% of 60%"), 0);
    log.note(event("busy 31% of 60%"), 5_000);
    log.note(event("busy 32% of 60%"), 61_000);
    log.note({ kind: "decision", decision: { kind: "grow", to: 4, reason: "much to do" }, status, sample: null }, 62_000);
    log.note({ kind: "failed", what: "one more, 4", reason: "exit code 7" }, 63_000);
    expect(output.split("\n")).to.deep.equal([
      "00:00:00  3 members  stay: busy 30% of 60%",
      "00:01:01  3 members  stay: busy 32% of 60%",
      "00:01:02  3 members  GROW to 4: much to do",
      "00:01:03  FAILED   one more, 4: exit code 7",
      "",
    ]);
  });

  it("gives machines each look", () => {
    const lines: string[] = [];
    const log = new DecisionLog({ targets: SETTINGS.targets, format: "json", output: (text) => void lines.push(text) });
    for (const atMs of [1, 2]) log.note(event("calm"), atMs);
    expect(lines.length).to.equal(2);
    const look = JSON.parse(lines[1]!) as { members: object[] };
    expect(look).to.include({ atMs: 2, kind: "stay", topic: "within", reason: "calm", ringVersion: 7 });
    expect(look.members[0]).to.include({ name: "node-a", state: "up", busyPermille: 300 });
  });
});
