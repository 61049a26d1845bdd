import { expect } from "chai";
import { World, type WorldOptions } from "./world.js";

describe("a world of simulated machines", () => {
  let world: World | null = null;

  async function start(options: WorldOptions = {}): Promise<World> {
    world = await World.start(options);
    return world;
  }

  afterEach(() => {
    world?.close();
    world = null;
  });

  it("serves clients from real nodes", async () => {
    const { run, client } = bound(await start({ nodes: 2 }));
    expect(await run(client("node-a").set("n0-k", "one"))).to.equal("OK");
    expect(await run(client("node-a").get("n0-k"))).to.equal("one");
    expect(await run(client("node-b").get("n0-k"))).to.equal(null);
  });

  function bound(it: World) {
    return {
      run: <T>(work: Promise<T>): Promise<T> => it.run(work),
      client: (name: string) => it.client(name),
    };
  }
});
