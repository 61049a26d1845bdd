import { expect } from "chai";
import { ExecProvider } from "../../lib/autoscale/exec-provider.js";
import { LocalProvider } from "../../lib/autoscale/local-provider.js";
import type { OperatingError } from "../../lib/errors.js";
import type { Child, ChildEnd, ChildOptions, Children } from "../../lib/host/children.js";
import type { ProgramEnd, ProgramRun } from "../../lib/host/programs.js";
import { FakeClock } from "../commands/fake-clock.js";
import { member } from "./trace.js";

const DONE: ProgramEnd = { code: 0, signal: null, isLate: false, output: "", errors: "" };

describe("the provider exec", () => {
  function provider(end: Partial<ProgramEnd>, runs: ProgramRun[] = []): ExecProvider {
    const run = async (wanted: ProgramRun): Promise<ProgramEnd> => {
      runs.push(wanted);
      return { ...DONE, ...end };
    };
    return new ExecProvider({ programs: { run }, command: ["scale", "--to"], withinMs: 5_000 });
  }

  it("tells the command the count, as its last argument and in its environment", async () => {
    const runs: ProgramRun[] = [];
    await provider({}, runs).grow({ to: 4 });
    const environment = { AUTOSCALE_MEMBERS: "4" };
    expect(runs).to.deep.equal([{ program: "scale", args: ["--to", "4"], environment, withinMs: 5_000 }]);
  });

  it("says how the command failed, and what it wrote", async () => {
    for (const [end, text] of [
      [{ code: 7, errors: "no\nroom\n" }, "scale --to 4 ended with exit code 7: no room"],
      [{ code: null, signal: "SIGKILL", isLate: true }, "scale --to 4 did not end within 5 s (--command-timeout)"],
      [{ code: null, signal: "SIGSEGV" }, "scale --to 4 ended with SIGSEGV"],
    ] as const) {
      const failure = await provider(end)
        .shrink({ to: 4 })
        .catch((error: OperatingError) => error);
      expect((failure as OperatingError).message).to.equal(text);
    }
  });

  it("expects the member with the highest number to go", () => {
    const named = ["kindred-2", "kindred-10", "kindred-9"].map((name, at) => member("abc"[at]!, { name }));
    expect(provider({}).leavers(named)).to.deep.equal(["b".repeat(16)]);
  });
});

class FakeChild implements Child {
  readonly pid = 1;
  readonly options: ChildOptions;
  readonly ended: Promise<ChildEnd>;
  readonly signals: string[] = [];
  end!: (end: ChildEnd) => void;

  constructor(options: ChildOptions) {
    this.options = options;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  signal(name: "SIGTERM" | "SIGKILL"): void {
    this.signals.push(name);
    this.end(name === "SIGTERM" ? { code: 0, signal: null } : { code: null, signal: name });
  }
}

class World implements Children {
  readonly clock = new FakeClock();
  readonly children: FakeChild[] = [];
  readonly running = new Set<string>();
  readonly leaves: string[] = [];
  readonly provider: LocalProvider;
  isReady = true;
  output = "";

  constructor({ isNew = true, first = ["a", "b"] } = {}) {
    this.provider = new LocalProvider({
      children: this,
      clock: this.clock,
      members: [..."abcd"].map((name, at) => ({ name, port: 7_000 + at, args: [name] })),
      first,
      isNew,
      isRunning: async ({ name }) => this.running.has(name),
      leave: async (address, version) => void this.leaves.push(`${address} ${version}`),
      output: (text) => {
        this.output += text;
      },
    });
  }

  async start(options: ChildOptions): Promise<Child> {
    const child = new FakeChild(options);
    this.children.push(child);
    if (this.isReady) setImmediate(() => options.onReady());
    return child;
  }

  get started(): string {
    return this.children.map(({ options }) => options.args[0]).join("");
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("the provider local", () => {
  it("starts the founder alone, then the others", async () => {
    const world = new World();
    world.isReady = false;
    const starting = world.provider.start();
    await world.settle();
    expect(world.started).to.equal("a");
    world.isReady = true;
    world.children[0]!.options.onReady();
    await starting;
    expect(world.started).to.equal("ab");
  });

  it("takes members that run already as they are, and starts the others", async () => {
    const world = new World({ isNew: false, first: ["a", "b", "c"] });
    world.running.add("b");
    await world.provider.start();
    expect(world.started).to.equal("ac");
    expect(world.output).to.include("b runs already");
  });

  it("starts the first name that is free, and says when none is", async () => {
    const world = new World();
    await world.provider.start();
    await world.provider.grow({ to: 4, names: ["a", "b", "c"] });
    expect(world.started).to.equal("abd");
    const failure = await world.provider.grow({ to: 5, names: ["a", "b", "c", "d"] }).catch((error: OperatingError) => error);
    expect((failure as OperatingError).message).to.include("no name is free");
  });

  it("has the last ones leave first, and none that it does not know", async () => {
    const world = new World();
    const members = ["x", "c", "a"].map((letter) => member(letter, { name: letter }));
    expect(world.provider.leavers(members)).to.deep.equal(["c".repeat(16), "a".repeat(16)]);
    const gone = { id: "c".repeat(16), name: "c", clientAddress: null };
    await world.provider.shrink({ to: 2, member: gone, ringVersion: 9 });
    expect(world.leaves).to.deep.equal(["127.0.0.1:7002 9"]);
  });

  it("starts a child that died again, later each time, and not one that ended in order", async () => {
    const world = new World();
    await world.provider.start();
    world.children[0]!.end({ code: 0, signal: null });
    await world.settle();
    world.clock.advance(100_000);
    await world.settle();
    expect(world.started).to.equal("ab");
    world.children[1]!.end({ code: null, signal: "SIGKILL" });
    await world.settle();
    world.clock.advance(999);
    await world.settle();
    expect(world.started).to.equal("ab");
    world.clock.advance(1);
    await world.settle();
    expect(world.started).to.equal("abb");
    world.children[2]!.end({ code: 1, signal: null });
    await world.settle();
    world.clock.advance(1_000);
    await world.settle();
    expect(world.started).to.equal("abb");
    world.clock.advance(1_000);
    await world.settle();
    expect(world.started).to.equal("abbb");
  });

  it("tells that a new member ended before it was ready, and does not start it again by itself", async () => {
    const world = new World();
    await world.provider.start();
    world.isReady = false;
    const growing = world.provider.grow({ to: 3, names: ["a", "b"] }).catch((error: OperatingError) => error);
    await world.settle();
    world.children[2]!.options.onLine("kindred: the port is taken");
    world.children[2]!.end({ code: 1, signal: null });
    expect(((await growing) as OperatingError).message).to.equal("c ended before it was ready: kindred: the port is taken");
    world.clock.advance(100_000);
    await world.settle();
    expect(world.started).to.equal("abc");
  });

  it("ends all children when it is stopped, and starts none any more", async () => {
    const world = new World();
    await world.provider.start();
    world.children[1]!.end({ code: null, signal: "SIGKILL" });
    await world.settle();
    await world.provider.stop();
    expect(world.children[0]!.signals).to.deep.equal(["SIGTERM"]);
    world.clock.advance(100_000);
    await world.settle();
    expect(world.started).to.equal("ab");
  });
});
