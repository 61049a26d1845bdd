/** What npx starts does not get the signals that npx gets, and is stopped all the same. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { isProcess } from "./cluster-process.js";
import { cleanEnvironment } from "./program.js";
import { serversOfTest } from "./server-process.js";
import { until, within } from "./until.js";

const command = fileURLToPath(new URL("../../../scripts/kindred.mjs", import.meta.url));

describe("kindred under npx", function () {
  this.timeout(60_000);
  const servers = serversOfTest();

  it("stops in order when the shell in which npx runs it has ended, with SIGINT ignored as in the background of a shell", async () => {
    const args = ["server", "--port", "0", "--peer-port", "0", "--dir", servers.makeDirectory(), "--log-format", "json"];
    const line = [process.execPath, command, ...args].map((word) => `'${word}'`).join(" ");
    // With something behind it the shell stays its parent, as that of npx does.
    const shell = spawn("sh", ["-c", `trap '' INT; ${line}; true`], {
      stdio: ["ignore", "pipe", "inherit"],
      env: cleanEnvironment({ npm_command: "exec" }),
    });
    let output = "";
    shell.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString("utf8");
    });
    const closed = once(shell.stdout, "close");
    try {
      await until({ what: "the server is ready", withinMs: 40_000 }, () => (output.includes("ready to accept") ? true : null));
      shell.kill("SIGTERM");
      // The pipe is closed when nobody is left who writes to it.
      await within({ what: `the server ends:\n${output}`, withinMs: 15_000 }, closed);
    } finally {
      const id = Number(/"pid":(\d+)/.exec(output)?.[1] ?? 0);
      if (id > 0 && isProcess(id)) process.kill(id, "SIGKILL");
    }
    expect(output).to.include('"signal":"SIGTERM"').and.include("stopped: everything acknowledged is on the disk");
  });
});
