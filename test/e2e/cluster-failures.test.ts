/** Members that fail, at small scale: `npm run failures` does the same for longer. */
import { expect } from "chai";
import { pause } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import { FAILURE_MODES, runFailure } from "./failure-run.js";
import { serversOfTest } from "./server-process.js";
import { until } from "./until.js";
import type { WireClient, WireReply } from "./wire-client.js";

const SECONDS = 6;
const RATE = 500;
const KEYS = 2_000;
/** The member is away for longer than what is sent to it waits: so hints are what it gets afterwards. */
const REQUEST_TIMEOUT_MS = 1_000;
/** Of the machine that tests run on not too much is expected; `npm run failures` is held to 500. */
const LONGEST_MS_MAX = 1_000;
const TITLES = { kill: "killed", stop: "stopped (SIGSTOP)", partition: "cut off from the others" } as const;

/** So long after a cut or its end nodes may not agree who decides, and so often two then do. */
const DISAGREED_MS = 1_000;
const DISAGREED_MAX = 3;

describe("a cluster of which a member fails", function () {
  this.timeout(60_000);
  const servers = serversOfTest();

  for (const mode of FAILURE_MODES) {
    it(`answers every request while one of three is ${TITLES[mode]}, and loses nothing, also not when a second one is killed`, async () => {
      const report = await runFailure(servers, {
        mode,
        seconds: SECONDS,
        rate: RATE,
        keys: KEYS,
        warmMs: 500,
        settings: { "request-timeout": `${REQUEST_TIMEOUT_MS}` },
      });
      const { siblingsExpected, siblingsFound, caughtUpMs, longest, operations } = report;
      const wrong = { failures: report.failures, examples: report.examples };
      expect(wrong).to.deep.equal({ failures: {}, examples: [] });
      expect(report).to.include({ failed: 0, staleReads: 0, lost: 0, missingAfterSecondKill: 0 });
      expect(siblingsFound).to.equal(siblingsExpected);
      if (mode === "partition") expect(siblingsExpected).to.be.above(50);
      expect(report.missedKeys).to.be.above(100);
      expect(report.hintsAtReturn).to.be.above(100);
      expect(caughtUpMs).to.be.a("number");
      expect(longest.ms, longest.what).to.be.below(LONGEST_MS_MAX);
      expect(operations).to.be.above(0.9 * SECONDS * RATE);
    });
  }

  it("counts across a partition at QUORUM: who is cut off refuses to count, nobody else does, and two count only as it begins and ends", async () => {
    const cluster = await ClusterProcesses.start(servers, { isMeshed: true, settings: { "request-timeout": "1000" } });
    const counting = await Counting.start(cluster, "QUORUM");
    await pause(1_500);
    const cutMs = Date.now();
    await cluster.cutOff(2);
    await pause(3_000);
    const whileCut = [...counting.acknowledged];
    const healedMs = Date.now();
    cluster.heal();
    await pause(1_500);
    await counting.stop();
    const total = Number(await (await cluster.connect(0)).call("CONSISTENCY", "ALL", "GET", "counter"));
    const { acknowledged, refused, uncertain, races } = counting;
    const sum = acknowledged.reduce((one, other) => one + other, 0);
    // Until nodes agree who decides, two may: a step of each, which then are siblings.
    expect(total).to.be.within(sum - DISAGREED_MAX, sum + uncertain);
    // What waited when the others were gone is told that it may have taken effect: a request or two of each client.
    expect(uncertain).to.be.at.most(6);
    expect(refused, "by node").to.satisfy((counts: number[]) => counts[0] === 0 && counts[1] === 0 && counts[2]! > 20);
    expect(acknowledged[2], "counts again afterwards").to.be.above(whileCut[2]!);
    const doubles = races.filter(({ winners }) => winners > 1);
    expect(doubles.length).to.be.at.most(DISAGREED_MAX);
    const isDisputed = (race: Race): boolean =>
      [cutMs, healedMs].some((atMs) => race.begunMs < atMs + DISAGREED_MS && race.endedMs > atMs);
    expect(doubles.filter((race) => !isDisputed(race))).to.deep.equal([]);
    expect(races.filter((race) => !isDisputed(race)).length).to.be.above(20);
  });

  it("counts on both sides of a partition at ONE, and keeps one of the two counts", async () => {
    const cluster = await ClusterProcesses.start(servers, { isMeshed: true, settings: { "request-timeout": "1000" } });
    const counting = await Counting.start(cluster, "ONE");
    await pause(500);
    await cluster.cutOff(2);
    await pause(2_000);
    cluster.heal();
    await pause(500);
    await counting.stop();
    const total = Number(await (await cluster.connect(0)).call("CONSISTENCY", "ALL", "GET", "counter"));
    const { acknowledged, refused, races } = counting;
    // What was under way to the others when they were gone, and what waited for it, is refused in time.
    expect(refused.slice(0, 2)).to.deep.equal([0, 0]);
    expect(refused[2]).to.be.at.most(2);
    expect(total).to.be.below(acknowledged.reduce((one, other) => one + other, 0));
    expect(total).to.be.at.least(Math.max(...acknowledged));
    expect(
      races.some(({ winners }) => winners === 2),
      "SETNX wins on both sides",
    ).to.equal(true);
  });

  it("finishes what was passed on to a member that is told to stop, and passes it no more", async () => {
    const cluster = await ClusterProcesses.start(servers);
    const clients = await Promise.all([0, 1, 0, 1, 0, 1].map((at) => cluster.connect(at)));
    const answers: WireReply[] = [];
    let isOver = false;
    // A key each, of which some are decided on by the member that stops: everything is counted by one client alone.
    const works = clients.map(async (client, at) => {
      for (let round = 1; !isOver; round++) {
        const key = `{${at}}n`;
        const replies = [
          client.send("MULTI"),
          client.send("INCR", key),
          client.send("SET", `{${at}}v`, `${round}`),
          client.send("EXEC"),
        ];
        const results = (await Promise.all(replies)).at(-1);
        answers.push(results instanceof Error ? results : ((results as WireReply[])[0] as number) - (2 * round - 1));
        answers.push(((await client.send("INCR", key)) as number) - 2 * round);
        answers.push((await client.send("SETNX", `{${at}}nx${round}`, "x")) as number);
      }
    });
    await pause(800);
    const exit = await cluster.members[2]!.server.terminate();
    expect(exit.code).to.equal(0);
    await pause(500);
    isOver = true;
    await Promise.all(works);
    // Differences to what was expected, and SETNX's 1.
    expect([...new Set(answers.map(String))].sort()).to.deep.equal(["0", "1"]);
    expect(answers.length).to.be.above(300);
  });

  it("refuses what needs the member that is down, in words, and answers what does not", async () => {
    const cluster = await ClusterProcesses.start(servers);
    const client = await cluster.connect(0);
    await client.call("SET", "k", "v");
    await cluster.kill(2);
    // What is known to be out of reach is refused at once, whatever has answered by then.
    const write = /^QUORUM write reached [0-2] of [23] replicas; it may still take effect$/;
    const read = /^QUORUM read reached [0-2] of [23] replicas$/;
    expect(await client.refusal("CONSISTENCY", "ALL", "SET", "k", "all")).to.match(write);
    expect(await client.refusal("CONSISTENCY", "READ", "3", "WRITE", "1", "GET", "k")).to.match(read);
    expect(await client.refusal("CONSISTENCY", "ALL", "STRICT", "SET", "k", "all")).to.match(write);
    for (const level of ["ONE", "QUORUM", "LOCAL_QUORUM"]) {
      expect(await client.call("CONSISTENCY", level, "SET", "k", level)).to.equal("OK");
      expect(await client.call("CONSISTENCY", level, "GET", "k")).to.equal(level);
    }
    expect(await client.call("INCR", "n")).to.equal(1);
    await cluster.kill(1);
    expect(await client.refusal("SET", "k", "alone")).to.match(write);
    expect(await client.refusal("GET", "k")).to.match(read);
    expect(await client.call("CONSISTENCY", "ONE", "SET", "k", "alone")).to.equal("OK");
    expect(await client.call("CONSISTENCY", "ONE", "GET", "k")).to.equal("alone");
    await client.close();
  });

  it("keeps what was deleted while a member was away deleted, on that member too", async () => {
    const cluster = await ClusterProcesses.start(servers);
    const keys = Array.from({ length: 100 }, (_, at) => `k${at}`);
    const client = await cluster.connect(0);
    await client.call("CONSISTENCY", "ALL", "MSET", ...keys.flatMap((key) => [key, "v"]));
    await cluster.kill(2);
    expect(await client.call("DEL", ...keys)).to.equal(100);
    await cluster.restart(2);
    const returned = await cluster.connect(2);
    await until({ what: "the member that was away has no such key by itself", withinMs: 15_000 }, async () =>
      (await returned.call("CONSISTENCY", "ONE", "EXISTS", ...keys)) === 0 ? true : null,
    );
    expect(await client.call("CONSISTENCY", "ALL", "EXISTS", ...keys)).to.equal(0);
    await Promise.all([client.close(), returned.close()]);
  });

  for (const [title, signal] of [
    ["killed", "kill"],
    ["told to stop", "terminate"],
  ] as const) {
    it(`has everything, and takes contexts of before, when all members were ${title} at once and started again`, async () => {
      const cluster = await ClusterProcesses.start(servers);
      const before = await cluster.connect(0);
      for (let at = 0; at < 300; at++) await before.call("SET", `k${at}`, `${at}`);
      const [context] = (await before.call("SIBLINGS", "k7")) as readonly [string];
      await before.call("SET", "k7", "other", "CONTEXT", context);
      await before.call("SET", "k7", "second", "CONTEXT", context);
      await Promise.all(cluster.members.map(({ server }) => server[signal]()));
      await Promise.all(cluster.members.map((_, at) => cluster.restart(at)));
      await cluster.agreed();
      for (const at of [0, 1, 2]) {
        const client = await cluster.connect(at);
        for (let key = 0; key < 300; key++) {
          if (key !== 7) expect(await client.call("GET", `k${key}`)).to.equal(`${key}`);
        }
        const [now, versions] = (await client.call("SIBLINGS", "k7")) as readonly [string, readonly (readonly string[])[]];
        if (at === 0) {
          expect(versions.map(([value]) => value).sort()).to.deep.equal(["other", "second"]);
          expect(await client.call("SIBLINGS", "k7", "RESOLVE", now, "one")).to.equal("OK");
        } else expect(versions.map(([value]) => value)).to.deep.equal(["one"]);
        await client.close();
      }
    });
  }
});

interface Race {
  readonly winners: number;
  readonly begunMs: number;
  readonly endedMs: number;
}

/** Clients of each member that count with INCR, one request after the other, and race with SETNX. */
class Counting {
  /** By node. */
  readonly acknowledged = [0, 0, 0];
  readonly refused = [0, 0, 0];
  uncertain = 0;
  readonly races: Race[] = [];
  #isStopped = false;
  #work: Promise<unknown> = Promise.resolve();

  static async start(cluster: ClusterProcesses, level: string): Promise<Counting> {
    const counting = new Counting();
    const clients = await Promise.all(cluster.members.map((_, at) => cluster.connect(at)));
    const racers = await Promise.all(cluster.members.map((_, at) => cluster.connect(at)));
    for (const client of [...clients, ...racers]) await client.call("CONSISTENCY", level);
    counting.#work = Promise.all([...clients.map((client, at) => counting.#count(client, at)), counting.#race(racers)]);
    return counting;
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#work;
  }

  async #count(client: WireClient, at: number): Promise<void> {
    while (!this.#isStopped) {
      const reply = await client.send("INCR", "counter");
      if (!(reply instanceof Error)) this.acknowledged[at]!++;
      else if (reply.message.endsWith("may still take effect")) this.uncertain++;
      else this.refused[at]!++;
      await pause(5);
    }
    await client.close();
  }

  async #race(racers: readonly WireClient[]): Promise<void> {
    for (let race = 0; !this.#isStopped; race++) {
      const begunMs = Date.now();
      const replies = await Promise.all(racers.map((racer) => racer.send("SETNX", `race:${race}`, "x")));
      this.races.push({ winners: replies.filter((reply) => reply === 1).length, begunMs, endedMs: Date.now() });
      await pause(10);
    }
    await Promise.all(racers.map((racer) => racer.close()));
  }
}
