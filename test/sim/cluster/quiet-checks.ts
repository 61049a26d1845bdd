/** What is so of a ring that is quiet: all copies were made equal before. Each check throws a Violation. */
import { Violation } from "./key-history.js";
import type { World } from "./world.js";

const AGAIN_MS = 200;
/** Longer than comparisons of copies are apart. */
const SILENCE_MS = 2_500;

export async function requireQuiet(world: World, withinMs: number): Promise<void> {
  if (world.machines.length > 1) await requireEqualTrees(world, withinMs);
  await requireNothingForeign(world, withinMs);
  await requireSilence(world);
}

/** The hash trees of all members agree, and all sums are known in time. */
async function requireEqualTrees(world: World, withinMs: number): Promise<void> {
  const untilMs = world.nowMs + withinMs;
  for (const machine of world.staying()) {
    for (;;) {
      const compared = await world.run(world.sight.compared(machine.index));
      if (compared !== null && compared.slotsUnknown === 0 && compared.failed === 0) {
        if (compared.slotsDiffering === 0) break;
        // What all are letting go of differs for a moment.
        if (!world.reaps || world.nowMs > untilMs)
          throw new Violation(null, `the hash tree of ${machine.name} differs in ${compared.slotsDiffering} slots from others`);
      }
      if (world.nowMs > untilMs)
        throw new Violation(null, `${machine.name} does not compare its copies: ${JSON.stringify(compared)}`);
      await world.pass(AGAIN_MS);
    }
  }
}

/** Records are where they belong, and nowhere else. */
async function requireNothingForeign(world: World, withinMs: number): Promise<void> {
  const members = world.staying().map(({ index }) => index);
  const isClean = (): boolean => world.ledger.foreign(members, world.ownersOf) === null;
  if (await world.until(isClean, withinMs)) return;
  const key = world.ledger.foreign(members, world.ownersOf);
  throw new Violation(key, `a member that does not own it holds it still, ${withinMs} ms after everything was healed`);
}

/** Once all agree, nobody sends records any more. */
async function requireSilence(world: World): Promise<void> {
  const nodes = world.staying().map(({ index }) => index);
  const before = await world.run(world.sight.recordsMoved(nodes));
  await world.pass(SILENCE_MS);
  const after = await world.run(world.sight.recordsMoved(nodes));
  if (after !== before) throw new Violation(null, `records still move between nodes that agree: ${before}; then ${after}`);
}
