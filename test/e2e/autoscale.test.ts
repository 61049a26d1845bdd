/** `kindred autoscale` at small scale and with short times: `npm run autoscale` does it for longer, with redis-benchmark. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { AutoscaleProcess, runAutoscale, statusAt } from "./autoscale-run.js";
import { pause, plainClient } from "./cluster-load.js";
import { freePorts } from "./ports.js";
import { mainPath, run, runKindred } from "./program.js";
import { serversOfTest } from "./server-process.js";
import { until } from "./until.js";

const SHORT = ["--every", "1", "--grow-after", "4", "--shrink-after", "6", "--grow-pause", "3", "--shrink-pause", "6"];

describe("kindred autoscale", function () {
  this.timeout(180_000);
  const servers = serversOfTest();

  it("grows its local members with the load and lets one leave when that is gone, and no request fails", async () => {
    const report = await runAutoscale({
      port: await freePorts(5),
      directory: servers.makeDirectory(),
      args: ["--min", "3", "--max", "4", "--busy", "0", "--requests", "150", "--disk", "0", ...SHORT],
      members: { least: 3, raised: 4 },
      rate: 60,
      keys: 1_000,
      raise: async (_, load) => {
        load.turnTo(900);
        return async () => load.turnTo(60);
      },
      stepMsMax: 60_000,
    });
    expect(report.failures).to.deep.equal({});
    expect(report).to.include({ staleReads: 0, lost: 0, exitCode: 0 });
    expect(report.acknowledgedWrites).to.be.above(500);
    const decided = report.decisions.filter((line) => / (GROW|SHRINK) /.test(line)).map((line) => line.slice(10).split(":")[0]);
    expect(decided).to.deep.equal(["3 members  GROW to 4", "4 members  SHRINK to 3"]);
    expect(report.members.at(-1)!.names).to.equal("node-a node-b node-c");
  });

  it("is started again after a kill among members that go on, and starts again a member that dies", async () => {
    const port = await freePorts(5);
    const args = ["--dir", servers.makeDirectory(), "--port", `${port}`, "--min", "3", "--max", "4", ...SHORT];
    const names = async (): Promise<string> => {
      const status = await statusAt(port).catch(() => ({ members: [], pending: [] }));
      const words = status.members.map(({ name, state }) => `${name} ${state}`);
      return status.pending.length === 0 ? words.join(" ") : "changing";
    };
    const all = "node-a up node-b up node-c up";
    const settled = (output: () => string): Promise<true> =>
      until({ what: `three members: ${output()}`, withinMs: 60_000 }, async () =>
        (await names()) === all ? true : pause(200).then(() => null),
      );
    const first = new AutoscaleProcess(args);
    await settled(() => first.output);
    await first.kill();
    const second = new AutoscaleProcess(args);
    try {
      await until({ what: "it takes them as they are", withinMs: 30_000 }, () =>
        ["a", "b", "c"].every((letter) => second.output.includes(`node-${letter} runs already`)) ? true : null,
      );
      await until({ what: "it decides", withinMs: 30_000 }, () => (second.output.includes("3 members  stay") ? true : null));
      expect(await names()).to.equal(all);
      // They are no children of the second: a member stops by itself, and is started when a third finds it missing.
      for (const at of [0, 1, 2]) await shutdown(port + at);
    } finally {
      expect(await second.stop()).to.equal(0);
    }
    const third = new AutoscaleProcess(args);
    try {
      await settled(() => third.output);
      const { pid } = JSON.parse(readFileSync(join(args[1]!, "node-c", "lock"), "utf8")) as { pid: number };
      process.kill(pid, "SIGKILL");
      await until({ what: `node-c is started again:\n${third.output}`, withinMs: 30_000 }, () =>
        third.output.includes("node-c ended unexpectedly (SIGKILL): it is started again in 1 s") ? true : null,
      );
      await settled(() => third.output);
    } finally {
      expect(await third.stop()).to.equal(0);
    }
  });

  it("has an orchestrator's command start and end members, and says what it answers", async () => {
    const directory = servers.makeDirectory();
    const port = await freePorts(5);
    const pids = join(directory, "pids");
    // It starts what is missing, and has the last ones leave: as an orchestrator with a preStop hook does.
    const script = join(directory, "orchestrator.sh");
    writeFileSync(pids, "");
    writeFileSync(
      script,
      `#!/bin/sh
set -e
[ "$1" = "$AUTOSCALE_MEMBERS" ] || { echo "told $1 and $AUTOSCALE_MEMBERS" >&2; exit 3; }
seeds=""
for at in 0 1 2 3; do
  dir="${directory}/pod-$at"
  p=$((${port} + at))
  seeds="$seeds\${seeds:+,}127.0.0.1:$((p + 10000))"
done
for at in 0 1 2 3; do
  dir="${directory}/pod-$at"
  p=$((${port} + at))
  if [ $at -lt $1 ] && [ ! -e "$dir.on" ]; then
    touch "$dir.on"
    "${process.execPath}" "${mainPath}" server --port $p --dir "$dir" --name pod-$at --host pod-$at --seeds "$seeds" --rejoin yes >"$dir.log" 2>&1 &
    echo $! >>"${pids}"
  elif [ $at -ge $1 ] && [ -e "$dir.on" ]; then
    "${process.execPath}" "${mainPath}" leave --port $p >"$dir.left" 2>&1 &
    rm "$dir.on"
  fi
done
`,
    );
    chmodSync(script, 0o755);
    const args = ["--provider", "exec", "--port", `${port}`, "--min", "3", "--max", "4", ...SHORT];
    const bounds = ["--busy", "0", "--disk", "0", "--requests", "1000000"];
    const first = await runScript(script, "3");
    try {
      expect(first).to.equal(0);
      const settled = (count: number, output: () => string): Promise<true> =>
        until({ what: `${count} members: ${output()}`, withinMs: 60_000 }, async () => {
          const status = await statusAt(port).catch(() => null);
          const isThere = status?.pending.length === 0 && status.members.length === count;
          return isThere && status.members.every(({ state }) => state === "up") ? true : pause(200).then(() => null);
        });
      await settled(3, () => "");
      const failing = new AutoscaleProcess([...args, "--min", "4", ...bounds, "--", "sh", "-c", "echo no room >&2; exit 7"]);
      await until({ what: `it says why: ${failing.output}`, withinMs: 30_000 }, () =>
        /FAILED {3}one more, 4: .*exit code 7: no room/.test(failing.output) ? true : null,
      );
      expect(await failing.stop()).to.equal(0);
      const growing = new AutoscaleProcess([...args, "--min", "4", ...bounds, "--", script]);
      await settled(4, () => growing.output);
      expect(await growing.stop()).to.equal(0);
      // So few requests that one is spare.
      const shrinking = new AutoscaleProcess([...args, "--json", ...bounds, "--", script]);
      await settled(3, () => shrinking.output);
      expect(await shrinking.stop()).to.equal(0);
      const looks = shrinking.output
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { kind: string; name?: string });
      expect(looks.find(({ kind }) => kind === "shrink")).to.include({ name: "pod-3" });
      // And up again, in the directory of the one that left, once that has ended.
      const left = Number(readFileSync(pids, "utf8").trim().split("\n").at(-1));
      await until({ what: "pod-3 has ended", withinMs: 30_000 }, () => (isRunning(left) ? pause(100).then(() => null) : true));
      const again = new AutoscaleProcess([...args, "--min", "4", ...bounds, "--", script]);
      await settled(4, () => again.output);
      expect(await again.stop()).to.equal(0);
    } finally {
      for (const line of readFileSync(pids, "utf8").split("\n")) {
        if (line !== "") kill(Number(line));
      }
    }
  });

  it("says what does not go together", async () => {
    for (const [words, text] of [
      ["--min 4 --max 3", "--max is 3, which is below --min 4"],
      ["--low 100 --high 100", "--low is 100%, which has to be below --high 100%"],
      ["--busy 0 --disk 0", "nothing is left to look at"],
      ["--provider exec", "wants a command"],
      ["-- kubectl scale", "is for --provider exec"],
    ] as const) {
      const outcome = await runKindred(["autoscale", ...words.split(" ")]);
      expect(outcome.code, words).to.equal(2);
      expect(outcome.stderr).to.include(text);
    }
  });
});

async function runScript(script: string, count: string): Promise<number | null> {
  const outcome = await run("sh", ["-c", `"${script}" ${count} </dev/null >/dev/null 2>&1`], {
    environment: { AUTOSCALE_MEMBERS: count },
  });
  return outcome.code;
}

async function shutdown(port: number): Promise<void> {
  const client = plainClient(port);
  await client.connect();
  await client.call("SHUTDOWN").catch(() => null);
  client.disconnect();
  await until({ what: `${port} is free`, withinMs: 15_000 }, async () =>
    (await statusAt(port).catch(() => null)) === null ? true : pause(100).then(() => null),
  );
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // Nobody may have asked for its exit code yet.
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
