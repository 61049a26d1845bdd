import { expect } from "chai";
import { type MemberPlan, memberName } from "../../lib/cli/cluster-plan.js";
import { LocalCluster } from "../../lib/cli/local-cluster.js";
import { OperatingError } from "../../lib/errors.js";
import type { Child, ChildEnd, ChildOptions, Children } from "../../lib/host/children.js";
import { FakeClock } from "../commands/fake-clock.js";

const STOPPED: ChildEnd = { code: 0, signal: null };
const TERMINATED: ChildEnd = { code: null, signal: "SIGTERM" };

/** A process that does what the test says. */
class FakeChild implements Child {
  readonly pid: number;
  readonly options: ChildOptions;
  readonly ended: Promise<ChildEnd>;
  readonly signals: string[] = [];
  isRunning = true;
  /** What SIGTERM makes of it; null: it does not heed it. */
  onTerminate: ChildEnd | null = STOPPED;
  #end!: (end: ChildEnd) => void;

  constructor(options: ChildOptions, pid: number) {
    this.options = options;
    this.pid = pid;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  end(end: ChildEnd): void {
    this.isRunning = false;
    this.#end(end);
  }

  signal(name: "SIGTERM" | "SIGKILL"): void {
    if (!this.isRunning) return;
    this.signals.push(name);
    if (name === "SIGKILL") this.end({ code: null, signal: "SIGKILL" });
    else if (this.onTerminate !== null) this.end(this.onTerminate);
  }
}

class World implements Children {
  readonly clock = new FakeClock();
  readonly children: FakeChild[] = [];
  readonly cluster: LocalCluster;
  output = "";
  refusal: OperatingError | null = null;
  /** Processes begin after it. */
  gate: Promise<void> = Promise.resolve();
  outcome: string | OperatingError | null = null;

  constructor(options: { nodes?: number; isNew?: boolean } = {}) {
    const { nodes = 3, isNew = true } = options;
    const members = Array.from(
      { length: nodes },
      (_, at): MemberPlan => ({
        name: memberName(at),
        port: 7_000 + at,
        peerPort: 17_000 + at,
        directory: `d/${memberName(at)}`,
        args: ["server", "--port", `${7_000 + at}`],
        isFounder: at === 0 && isNew,
      }),
    );
    this.cluster = new LocalCluster({
      children: this,
      clock: this.clock,
      members,
      output: (text) => {
        this.output += text;
      },
      announcement: (pids) => `ready: ${pids.join(" ")}\n`,
    });
  }

  async start(options: ChildOptions): Promise<Child> {
    await this.gate;
    if (this.refusal !== null) throw this.refusal;
    const child = new FakeChild(options, 100 + this.children.length);
    this.children.push(child);
    return child;
  }

  run(): this {
    this.cluster.run().then(
      (outcome) => {
        this.outcome = outcome;
      },
      (error: OperatingError) => {
        this.outcome = error;
      },
    );
    return this;
  }

  /** Lets everything settle that does not wait for a child. */
  async settle(): Promise<this> {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    return this;
  }

  async ready(...which: readonly number[]): Promise<this> {
    for (const at of which) this.children[at]!.options.onReady();
    return this.settle();
  }

  /** All members, ready. */
  static async ready(options: { nodes?: number } = {}): Promise<World> {
    const world = await new World({ ...options, isNew: false }).run().settle();
    return world.ready(...world.children.keys());
  }
}

describe("a local cluster", () => {
  it("starts the founder, the others once it is ready, and announces itself when all are", async () => {
    const world = await new World().run().settle();
    expect(world.children.map(({ options }) => options.args)).to.deep.equal([["server", "--port", "7000"]]);
    await world.ready(0);
    expect(world.children.length).to.equal(3);
    await world.ready(2);
    expect(world.output).to.equal("");
    await world.ready(1);
    expect(world.output).to.equal("ready: 100 101 102\n");
    expect(world.outcome).to.equal(null);
  });

  it("starts all at once where a ring exists, for a restarted member may need the others", async () => {
    const world = await new World({ isNew: false }).run().settle();
    expect(world.children.length).to.equal(3);
  });

  it("shows lines under the name of their member, names padded to one width", async () => {
    const world = await new World({ nodes: 27, isNew: false }).run().settle();
    world.children[0]!.options.onLine("hello");
    world.children[26]!.options.onLine("");
    expect(world.output).to.equal("node-a  | hello\nnode-27 | \n");
  });

  it("stops each on request, waits for the last, and is clean", async () => {
    const world = await World.ready();
    world.children[1]!.onTerminate = null;
    world.cluster.stop();
    await world.settle();
    expect(world.children.map(({ signals }) => signals)).to.deep.equal([["SIGTERM"], ["SIGTERM"], ["SIGTERM"]]);
    expect(world.outcome).to.equal(null);
    world.children[1]!.end(STOPPED);
    await world.settle();
    expect(world.outcome).to.equal("clean");
    expect(world.output).to.include("stopping node-a, node-b, node-c\n");
  });

  it("kills on the second request, and is not clean then", async () => {
    const world = await World.ready();
    world.children[1]!.onTerminate = null;
    world.cluster.stop();
    await world.settle();
    world.cluster.stop();
    await world.settle();
    expect(world.children.map(({ signals }) => signals.at(-1))).to.deep.equal(["SIGTERM", "SIGKILL", "SIGTERM"]);
    expect(world.output).to.include("killing node-b\n");
    expect(world.outcome).to.equal("not clean");
  });

  it("is not clean when a member's stop fails", async () => {
    const world = await World.ready();
    world.children[2]!.onTerminate = { code: 1, signal: null };
    world.cluster.stop();
    await world.settle();
    expect(world.outcome).to.equal("not clean");
    expect(world.output).to.include("node-c ended (exit code 1)\n");
  });

  it("says who ended, with what and how to start it again, and restarts none", async () => {
    const world = await World.ready();
    world.children[1]!.end({ code: null, signal: "SIGKILL" });
    await world.settle();
    expect(world.output).to.include(
      "node-b ended (SIGKILL); 2 of 3 go on. To start it again: npx kindred server --port 7001\n",
    );
    expect(world.children.length).to.equal(3);
    expect(world.outcome).to.equal(null);
    world.cluster.stop();
    await world.settle();
    expect(world.outcome, "the others stopped in order").to.equal("clean");
  });

  it("ends, not clean, when no member is left", async () => {
    const world = await World.ready({ nodes: 1 });
    world.children[0]!.end(STOPPED);
    await world.settle();
    expect(world.output).to.include(
      "node-a ended (exit code 0); no other is left. To start it again (with --rejoin yes where it has left)",
    );
    expect(world.outcome).to.equal("not clean");
  });

  it("a member that ends before it is ready fails the start with its own words, and leaves none behind", async () => {
    const world = await (await new World().run().settle()).ready(0);
    world.children[2]!.onTerminate = TERMINATED;
    const { options } = world.children[1]!;
    options.onLine("some log");
    options.onLine("kindred: the directory is locked");
    options.onLine("a later line");
    world.children[1]!.end({ code: 1, signal: null });
    await world.settle();
    expect(world.outcome).to.be.instanceOf(OperatingError);
    expect((world.outcome as OperatingError).message).to.equal(
      "node-b ended before it was ready (exit code 1): the directory is locked",
    );
    expect(world.children.map(({ isRunning }) => isRunning)).to.deep.equal([false, false, false]);
    expect(world.children.flatMap(({ signals }) => signals)).to.deep.equal(["SIGTERM", "SIGTERM"]);
  });

  it("waits for members that take their time to stop after a failed start", async () => {
    const world = await (await new World().run().settle()).ready(0);
    world.children[0]!.onTerminate = null;
    world.children[1]!.end({ code: 1, signal: null });
    await world.settle();
    expect(world.outcome).to.equal(null);
    world.cluster.stop();
    await world.settle();
    expect(world.outcome).to.be.instanceOf(OperatingError);
    expect(world.children[0]!.signals).to.deep.equal(["SIGTERM", "SIGKILL"]);
  });

  it("a request to stop during the start stops who has begun, starts no more, and is clean", async () => {
    const world = await new World().run().settle();
    world.children[0]!.onTerminate = TERMINATED;
    world.cluster.stop();
    await world.settle();
    expect(world.children.length).to.equal(1);
    expect(world.outcome).to.equal("clean");
    expect(world.output).not.to.include("ready:");
  });

  it("a process that begins after the request is told of it", async () => {
    const world = new World({ isNew: false });
    let begin!: () => void;
    world.gate = new Promise((resolve) => {
      begin = resolve;
    });
    await world.run().settle();
    world.cluster.stop();
    begin();
    await world.settle();
    expect(world.children.map(({ signals }) => signals)).to.deep.equal([["SIGTERM"], ["SIGTERM"], ["SIGTERM"]]);
    expect(world.outcome).to.equal("clean");
  });

  it("a system that starts no more processes fails the start", async () => {
    const world = await new World().run().settle();
    world.refusal = new OperatingError("UNAVAILABLE", "no process could be started: EAGAIN");
    await world.ready(0);
    expect(world.outcome).to.equal(world.refusal);
    expect(world.children[0]!.isRunning).to.equal(false);
  });

  it("says whom it waits for while a member takes long to be ready", async () => {
    const world = await (await new World().run().settle()).ready(0);
    await world.ready(1);
    world.clock.advance(10_000);
    world.clock.advance(10_000);
    expect(world.output).to.equal("kindred cluster: still waiting for node-c\n".repeat(2));
    await world.ready(2);
    world.clock.advance(100_000);
    expect(world.output.match(/still waiting/g)).to.have.lengthOf(2);
  });
});
