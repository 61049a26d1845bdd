/**
 * `npm run simulate -- --target gossip`: what gossip costs and how well it tells the living from the dead, at several
 * sizes, in virtual time with 2% of all messages lost.
 */
import { contentsOf, GossipWorld, idOf } from "../test/cluster/gossip-world.js";

/** Members, and the virtual time in which false downs are counted: an hour costs minutes at 500. */
const SIZES = [
  { size: 10, watchedMs: 3_600_000 },
  { size: 100, watchedMs: 3_600_000 },
  { size: 500, watchedMs: 300_000 },
];
const LOSS = 0.02;
const SETTLE_MS = 30_000;
const COST_MS = 30_000;
const SAMPLES = 5;

export async function printGossipFigures(seed: number, write: (line: string) => void): Promise<void> {
  write(
    "members  bytes/s a node  largest message  rounds until all know  down everywhere after  suspect after     false downs",
  );
  for (const { size, watchedMs } of SIZES) {
    const world = GossipWorld.of(size, { seed, loss: LOSS, isLoadMoving: true });
    await world.advance(SETTLE_MS);
    const bytesPerSecond = await cost(world, size);
    const rounds = await spreading(world, size);
    const downs = await falseDowns(size, seed, watchedMs);
    const suspectAfterMs = world.gossip(0).suspectAfterMs;
    const downMs = await dying(world, size);
    const cells = [
      [String(size), 7],
      [Math.round(bytesPerSecond).toLocaleString("en"), 16],
      [world.largestMessage.toLocaleString("en"), 17],
      [rounds, 23],
      [`${(downMs / 1_000).toFixed(1)} s`, 23],
      [`${(suspectAfterMs / 1_000).toFixed(1)} s`, 15],
      [`${downs} in ${watchedMs / 60_000} min`, 15],
    ] as const;
    write(cells.map(([text, width]) => text.padStart(width)).join(""));
  }
}

/** Bytes that a node sends in a second while every load changes every ten. */
async function cost(world: GossipWorld, size: number): Promise<number> {
  const before = world.bytes;
  await world.advance(COST_MS);
  return (world.bytes - before) / size / (COST_MS / 1_000);
}

/** Seconds until a change is known to all, mean and most of a few. */
async function spreading(world: GossipWorld, size: number): Promise<string> {
  const took: number[] = [];
  for (let sample = 1; sample <= SAMPLES; sample++) {
    const teller = (sample * 7) % size;
    const { name } = contentsOf(teller);
    world.gossip(teller).update({ name: `${name} ${sample}` });
    const isKnown = (by: number) => world.gossip(by).membership.get(idOf(teller))!.contents.name === `${name} ${sample}`;
    took.push((await world.until(() => world.living().every(isKnown), 60_000)) / 1_000);
  }
  return `${(took.reduce((sum, each) => sum + each, 0) / SAMPLES).toFixed(1)} (most ${Math.max(...took).toFixed(1)})`;
}

async function dying(world: GossipWorld, size: number): Promise<number> {
  const victim = size - 1;
  world.kill(victim);
  return world.until(() => world.views(victim).every((status) => status === "down"), 120_000);
}

async function falseDowns(size: number, seed: number, watchedMs: number): Promise<number> {
  const world = GossipWorld.of(size, { seed: seed + 1, loss: LOSS });
  await world.advance(watchedMs);
  return world.downs();
}
