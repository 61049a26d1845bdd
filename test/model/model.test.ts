import { expect } from "chai";
import { runModelSeed } from "./model-run.js";
import type { ModelEvent } from "./operation.js";

const SEEDS = 60;

describe("the keyspace against a model", () => {
  it(`holds what plain Maps hold, for ${SEEDS} seeds`, async function () {
    this.timeout(60_000);
    const first = Number(process.env.MODEL_SEED ?? 1);
    const totals = new Map<string, number>();
    for (let seed = first; seed < first + SEEDS; seed++) {
      const { counts } = await runModelSeed(seed);
      for (const [name, count] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + count);
    }
    const mustHappen: readonly ModelEvent[] = ["applied", "removed", "reaped", "timeouts", "busy", "conflicts", "siblings"];
    for (const name of [...mustHappen, "refusedBatches", "limits", "holds", "flushes", "walks", "stops", "crashes", "lost"]) {
      expect(totals.get(name), name).to.be.greaterThan(0);
    }
  });
});
