/** Members that come and go, and copies that are repaired, at small scale: `npm run changes` does the first for longer. */
import { expect } from "chai";
import { runChanges } from "./changes-run.js";
import { pause } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import { mainPath, run } from "./program.js";
import { serversOfTest } from "./server-process.js";
import { until } from "./until.js";

const KEYS = 3_000;
/** Of the machine that tests run on not too much is expected; `npm run changes` is held to 500. */
const LONGEST_MS_MAX = 1_000;

describe("a cluster whose members come and go", function () {
  this.timeout(180_000);
  const servers = serversOfTest();

  it("answers every request while it grows from three to seven, one dies and is replaced, and two leave", async () => {
    const report = await runChanges(servers, { rate: 300, keys: KEYS, restMs: 300, settings: { "request-timeout": "1000" } });
    const wrong = { failures: report.failures, examples: report.examples };
    expect(wrong).to.deep.equal({ failures: {}, examples: [] });
    expect(report).to.include({ failed: 0, staleReads: 0, lost: 0, keys: KEYS, copies: 3 * KEYS });
    expect(report.longestMs, report.longest).to.be.below(LONGEST_MS_MAX);
    for (const { what, moved, ideal } of report.steps) {
      if (what.endsWith("joins")) expect(moved, what).to.be.within(0.8 * ideal, ideal + 0.05);
    }
  });

  it("makes copies equal when it is told to, whatever was forgotten", async () => {
    const settings = { replicas: "3", "hints-max-bytes": "0", "anti-entropy-interval": "0" };
    const cluster = await ClusterProcesses.start(servers, { settings });
    const client = await cluster.connect(0);
    for (let at = 0; at < 100; at++) await client.call("SET", `key:${at}`, "value");
    await cluster.kill(2);
    for (let at = 50; at < 150; at++) await client.call("SET", `key:${at}`, "later");
    await client.call("DEL", "key:0");
    await cluster.restart(2);
    await cluster.agreed();
    await pause(1_500);
    const behind = await cluster.ask(2, "CONSISTENCY", "ONE", "GET", "key:149");
    expect(behind).to.equal(null);
    const command = ["repair", "--port", `${cluster.port(2)}`];
    const outcome = await run(process.execPath, [mainPath, ...command]);
    expect(outcome).to.include({ code: 0, stderr: "" });
    expect(outcome.stdout).to.match(/^compared with 2 members: \d+ slots differed; took 101 records, gave 0 records, /);
    expect(await cluster.ask(2, "CONSISTENCY", "ONE", "GET", "key:149")).to.equal("later");
    expect(await cluster.ask(2, "CONSISTENCY", "ONE", "GET", "key:0")).to.equal(null);
    // All of it once more, by what each has on its disk.
    const again = await run(process.execPath, [mainPath, ...command, "--full", "--json"]);
    expect(JSON.parse(again.stdout)).to.include({ state: "done", slotsDiffering: 0, taken: 0, given: 0, failed: 0 });
    await client.close();
  });

  it("repairs by itself what no hint was kept for", async () => {
    const settings = { replicas: "3", "hints-max-bytes": "0", "anti-entropy-interval": "1" };
    const cluster = await ClusterProcesses.start(servers, { settings });
    const client = await cluster.connect(0);
    await cluster.kill(2);
    for (let at = 0; at < 50; at++) await client.call("SET", `key:${at}`, "value");
    await cluster.restart(2);
    await until({ what: "the member that was away holds all keys", withinMs: 30_000 }, async () => {
      const keyspace = String(await cluster.ask(2, "INFO", "keyspace"));
      return keyspace.includes("db0:keys=50,") ? true : pause(100).then(() => null);
    });
    await client.close();
  });
});
