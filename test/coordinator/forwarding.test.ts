/** Read-modify-writes and writes that are passed on: exact where nodes agree, and never run twice unseen where they do not. */
import { expect } from "chai";
import { mintAt, RingWorld } from "./ring-world.js";

/** Outcomes of works, errors by their codes. */
async function outcomesOf(world: RingWorld, works: readonly Promise<unknown>[]): Promise<unknown[]> {
  const outcomes = await world.run(Promise.allSettled(works));
  return outcomes.map((outcome) =>
    outcome.status === "fulfilled" ? outcome.value : (outcome.reason as { code: string }).code,
  );
}

function commandsRun(world: RingWorld): number {
  return world.nodes.reduce((sum, node) => sum + node.commandsRun, 0);
}

describe("read-modify-writes", () => {
  for (const nodes of [3, 5]) {
    it(`of all of ${nodes} nodes at once give the exact sum, also when they queue for long`, async () => {
      const world = await RingWorld.start({ nodes });
      const keys = [world.key(1, 2, 3), world.key(2, 3), world.key(3)];
      const works: Promise<number>[] = [];
      for (let round = 0; round < 60; round++) {
        for (const node of world.nodes) for (const key of keys) works.push(world.client(node.number).incr(key));
        if (round % 10 === 0) await world.pass(1);
      }
      const answers = await world.runAll(works);
      for (const [at, key] of keys.entries()) {
        const own = answers.filter((_, index) => index % keys.length === at).sort((a, b) => a - b);
        expect(own).to.deep.equal(Array.from({ length: 60 * nodes }, (_, index) => index + 1));
        expect(await world.run(world.client(1).values(key))).to.deep.equal([String(60 * nodes)]);
      }
    });

    it(`of all of ${nodes} nodes at once have one winner: SETNX`, async () => {
      const world = await RingWorld.start({ nodes });
      for (let round = 0; round < 10; round++) {
        const key = world.key();
        const works = world.nodes.map((node) => world.client(node.number).setnx(key, `n${node.number}`));
        const answers = await world.runAll(works);
        expect(answers.filter((answer) => answer === 1).length).to.equal(1);
        const winner = `n${answers.indexOf(1) + 1}`;
        for (const node of world.nodes) {
          expect(await world.run(world.client(node.number).values(key))).to.deep.equal([winner]);
        }
      }
    });
  }

  it("stay exact while the disk of the node that decides makes everybody wait", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    world.node(1).store.coldness = 0.8;
    world.node(1).store.readMsMax = 40;
    const works: Promise<number>[] = [];
    for (let round = 0; round < 4; round++) for (const node of world.nodes) works.push(world.client(node.number).incr(key));
    await world.runAll(works);
    expect(await world.run(world.client(2).values(key))).to.deep.equal(["20"]);
  });

  it("stay exact while one that decides nothing is frozen", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    world.freeze(2);
    const works: Promise<number>[] = [];
    for (let round = 0; round < 20; round++) {
      for (const number of [1, 3, 4, 5]) works.push(world.client(number).incr(key));
      await world.pass(3);
    }
    await world.runAll(works);
    expect(await world.run(world.client(3).values(key))).to.deep.equal(["80"]);
  });

  it("fail no request when the node that decides dies, and lose nothing that was acknowledged", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    for (const number of [2, 4]) await world.run(world.client(number).incr(key));
    await world.kill(1);
    const answers = await outcomesOf(world, [world.client(4).incr(key)]);
    expect(answers).to.deep.equal([3]);
    expect(await world.run(world.client(5).incr(key))).to.equal(4);
    await world.restart(1);
    await world.pass(3_000);
    await world.untilNoHints();
    expect(await world.run(world.client(2).incr(key))).to.equal(5);
  });

  it("are answered within half a second while the node that decides is frozen", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).incr(key));
    world.freeze(1);
    const times: number[] = [];
    for (let at = 0; at < 10; at++) times.push(await world.timeOf(world.client(4).incr(key)));
    expect(Math.max(...times)).to.be.below(500);
    expect(times.at(-1)).to.be.below(20);
    expect(await world.run(world.client(3).get(key))).to.equal("11");
  });

  it("fail no request when the node that decides wakes just after it was passed by", async () => {
    for (const sleepMs of [246, 252, 256, 260, 264]) {
      const world = await RingWorld.start({ nodes: 5 });
      const key = world.key(1, 2, 3);
      await world.run(world.client(4).incr(key));
      world.freeze(1);
      const works: Promise<number>[] = [];
      for (const number of [4, 5]) for (let count = 0; count < 30; count++) works.push(world.client(number).incr(key));
      await world.pass(sleepMs);
      world.thaw(1);
      const answers = await outcomesOf(world, works);
      const distinct = new Set(answers.filter((answer) => typeof answer === "number"));
      expect(distinct.size, `after ${sleepMs} ms: ${answers.join()}`).to.equal(60);
    }
  });

  it("and reads are answered within half a second while an owner is frozen, however many wait for it", async () => {
    const world = await RingWorld.start({ nodes: 5, settings: { queuedMax: 10_000 } });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).incr(key));
    world.freeze(1);
    const reads = Array.from({ length: 2_400 }, () => world.client(4).get(key));
    const incrs = [1, 2, 3].map(() => world.client(4).incr(key));
    const outcomes = outcomesOf(world, [...incrs, ...reads]);
    expect(await world.timeOf(outcomes)).to.be.below(500);
    const [first, second, third, ...values] = await outcomes;
    expect([first, second, third]).to.deep.equal([2, 3, 4]);
    for (const value of values) expect(value).to.be.oneOf(["1", "2", "3", "4"]);
  });

  it("decide on what a minority holds only if a majority holds it by the time they answer", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (const holder of [1, 2]) {
      const key = world.key(1, 2, 3);
      mintAt(world, holder, key, "there");
      expect(await world.run(world.client(1).setnx(key, "mine"))).to.equal(0);
      world.split(holder);
      expect(await world.run(world.client(3, "STRICT").get(key))).to.equal("there");
      world.heal();
      await world.pass(3_000);
    }
  });
});

describe("a command that was passed on", () => {
  it("is not run twice unseen when its first target is frozen and wakes later", async () => {
    for (const sleepMs of [100, 300, 600, 1_500, 3_000]) {
      const world = await RingWorld.start({ nodes: 5 });
      const key = world.key(1, 2, 3);
      await world.run(world.client(4).incr(key));
      world.freeze(1);
      const [answer] = await outcomesOf(world, [
        Promise.race([world.client(4).incr(key), new Promise((resolve) => world.clock.after(sleepMs, () => resolve("slept")))]),
      ]);
      let next: unknown = null;
      if (answer !== "slept") next = await world.run(world.client(4).incr(key));
      world.thaw(1);
      await world.pass(5_000);
      const expected = answer === "slept" ? "2" : String(next);
      expect(await world.run(world.client(2).values(key)), `after ${sleepMs} ms`).to.deep.equal([expected]);
    }
  });

  it("is not run twice unseen when the link breaks after it was run", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).incr(key));
    const before = commandsRun(world);
    // The command arrives, its answer does not.
    world.network.cutWay(world.idOf(1), world.idOf(4));
    const work = world.client(4).incr(key);
    await world.pass(20);
    expect(commandsRun(world)).to.equal(before + 1);
    world.network.dropAll();
    const [outcome] = await outcomesOf(world, [work]);
    world.heal();
    await world.pass(3_000);
    expect(await world.run(world.client(2).values(key))).to.deep.equal(["2"]);
    expect(outcome).to.be.oneOf([2, "QUORUM"]);
  });

  it("that was told to have failed without an effect has none, and says otherwise when it may have one", async () => {
    const world = await RingWorld.start({ nodes: 5, settings: { requestTimeoutMs: 500 } });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).incr(key));
    for (const number of [1, 2, 3]) world.freeze(number);
    const failure = await world.failureOf(world.client(4).incr(key));
    for (const number of [1, 2, 3]) world.thaw(number);
    await world.pass(3_000);
    const value = await world.run(world.client(5).get(key));
    expect(failure.code, failure.message).to.equal("QUORUM");
    expect(failure.message).to.contain(value === "1" ? "" : "may still take effect");
    expect(failure.message).to.not.contain("nothing was changed");
  });
});

describe("a write that was passed on", () => {
  it("is one version when its first target is slow and both make it", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).set(key, "before"));
    world.network.setDelay(world.idOf(4), world.idOf(1), 120);
    await world.run(world.client(4).set(key, "v"));
    await world.pass(2_000);
    expect(await world.run(world.client(5, "ALL").values(key))).to.deep.equal(["v"]);
    await world.run(world.client(4).set(key, "w"));
    await world.pass(2_000);
    expect(await world.run(world.client(5, "ALL").values(key))).to.deep.equal(["w"]);
  });

  it("is not made anew over a later write when its first target is frozen and wakes later", async () => {
    for (const sleepMs of [60, 150, 300, 600, 1_500, 3_000]) {
      const world = await RingWorld.start({ nodes: 5 });
      const key = world.key(1, 2, 3);
      await world.run(world.client(4).set(key, "before"));
      world.freeze(1);
      // By the last of them it is known to be quiet, and is not sent any.
      for (const value of ["first", "second", "third", "fourth", "last"]) await world.run(world.client(4).set(key, value));
      await world.pass(sleepMs);
      world.thaw(1);
      await world.pass(5_000);
      await world.untilNoHints();
      expect((await world.run(world.client(5, "ALL").values(key)))[0], `after ${sleepMs} ms`).to.equal("last");
    }
  });

  it("is not made anew over a later write when what was sent first arrives later", async () => {
    for (const lateMs of [60, 150, 400, 1_500]) {
      const world = await RingWorld.start({ nodes: 5 });
      const key = world.key(1, 2, 3);
      await world.run(world.client(4).set(key, "before"));
      world.cut([4], [1]);
      // By the last of them it is known to be quiet, and is not sent any.
      for (const value of ["first", "second", "third", "fourth", "last"]) await world.run(world.client(4).set(key, value));
      await world.pass(lateMs);
      world.heal();
      await world.pass(5_000);
      await world.untilNoHints();
      expect((await world.run(world.client(5, "ALL").values(key)))[0], `after ${lateMs} ms`).to.equal("last");
    }
  });

  it("does not come back over a later one from a member that made it and was not heard", async () => {
    for (const aheadMs of [0, 5_000]) {
      for (const lateMs of [60, 400, 1_500, 3_000]) {
        const world = await RingWorld.start({ nodes: 5 });
        const key = world.key(1, 2, 3);
        await world.run(world.client(4).set(key, "before"));
        world.node(1).clock.wallAheadMs = aheadMs;
        for (const number of [2, 3, 4, 5]) world.network.cutWay(world.idOf(1), world.idOf(number));
        for (const value of ["first", "second", "third", "last"]) await world.run(world.client(4).set(key, value));
        expect(await world.held(1, key)).to.not.deep.equal(["before"]);
        await world.pass(lateMs);
        world.heal();
        await world.pass(5_000);
        await world.untilNoHints();
        const [newest] = await world.run(world.client(5, "ALL").values(key));
        expect(newest, `after ${lateMs} ms, ${aheadMs} ms ahead`).to.equal("last");
      }
    }
  });

  it("is not made again over what was written by who has seen it", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).set(key, "before"));
    world.network.cutWay(world.idOf(1), world.idOf(4));
    const unheard = world.client(4).set(key, "first");
    await world.pass(3);
    expect(await world.run(world.client(5).get(key))).to.equal("first");
    await world.run(world.client(5).set(key, "after it"));
    await world.run(unheard);
    expect(await world.run(world.client(3, "ALL").values(key))).to.deep.equal(["after it"]);
  });

  it("is the newest though the member that made it first failed to make it so", async () => {
    const world = await RingWorld.start({ nodes: 4 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(4).set(key, "before"));
    // 1 lacks what the others hold, and learns of it; its disk takes the first version, and not the one above theirs.
    for (const number of [2, 3]) {
      world.node(number).clock.wallAheadMs = 10_000;
      mintAt(world, number, key, `at ${number}`);
    }
    const { replica } = world.node(1);
    const { mintAgain } = replica;
    replica.mintAgain = (...args) => {
      world.node(1).disk.faults.appendFailure = 1;
      return mintAgain.apply(replica, args);
    };
    await world.run(world.client(4).set(key, "last"));
    world.node(1).disk.faults.appendFailure = 0;
    await world.pass(3_000);
    await world.untilNoHints();
    for (const reader of [1, 2, 3, 4]) expect(await world.run(world.client(reader, "ALL").get(key))).to.equal("last");
  });

  it("fails no request when its first target dies, frozen or killed", async () => {
    for (const how of ["kill", "freeze"] as const) {
      const world = await RingWorld.start({ nodes: 5 });
      const keys = Array.from({ length: 20 }, () => world.key(1, 2, 3));
      const works: Promise<void>[] = [];
      for (const [at, key] of keys.entries()) {
        works.push(world.client(4).set(key, "v"));
        if (at === 10) await (how === "kill" ? world.kill(1) : world.freeze(1));
        await world.pass(0.3);
      }
      expect(await world.timeOf(Promise.all(works))).to.be.below(500);
      await world.runAll(works);
      for (const key of keys) expect(await world.run(world.client(5).get(key))).to.equal("v");
    }
  });

  it("keeps its value though the request's buffer is used again", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    world.node(1).store.coldness = 1;
    world.node(1).store.readMsMax = 20;
    await world.runAll([1, 2, 3, 4, 5].map((at) => world.client(4).set(key, `value ${at}`)));
    expect(await world.run(world.client(5).get(key))).to.equal("value 5");
  });
});

describe("requests on several keys", () => {
  it("through two nodes never wait for each other", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (let round = 0; round < 10; round++) {
      const [a, b] = [world.key(1, 2, 3), world.key(4, 5, 1)];
      const times = [
        world.timeOf(world.client(1).msetnx(a, "1", b, "1")),
        world.timeOf(world.client(4).msetnx(b, "4", a, "4")),
      ];
      expect(Math.max(...(await Promise.all(times)))).to.be.below(100);
    }
  });
});
