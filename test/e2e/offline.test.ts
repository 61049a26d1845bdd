/** `kindred check` and `kindred inspect` on what a real server left behind, whole and damaged. */
import { closeSync, openSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { mainPath, run, runKindred } from "./program.js";
import { type ServerProcess, serversOfTest } from "./server-process.js";
import { until } from "./until.js";

const KEYS = 4_000;

describe("a stopped server's directory", function () {
  this.timeout(40_000);
  const servers = serversOfTest();

  it("is whole, says check, with what is in it; while the server runs it is refused", async () => {
    const server = await withTables();
    const inUse = await runKindred(["check", server.directory]);
    expect(inUse.code).to.equal(1);
    expect(inUse.stderr).to.include(`in use by process ${server.pid}`);
    await server.terminate();
    const { code, stdout } = await runKindred(["check", server.directory]);
    expect(code, stdout).to.equal(0);
    expect(stdout).to.include(`${server.directory} is whole`);
    const report = JSON.parse((await runKindred(["check", "--json", server.directory])).stdout);
    expect(report.problems).to.deep.equal([]);
    expect(report.tables).to.be.above(0);
  });

  it("is inspected file by file, and whoever stops reading early is no failure", async () => {
    const server = await withTables();
    await server.terminate();
    const names = readdirSync(storeOf(server)).filter((name) => name !== "lock");
    expect(names).to.include("manifest");
    for (const name of names) {
      const { code, stdout, stderr } = await runKindred(["inspect", join(storeOf(server), name)]);
      expect(code, stderr).to.equal(0);
      expect(stdout, name).not.to.equal("");
    }
    const table = join(storeOf(server), tableOf(server));
    const command = `"${process.execPath}" "${mainPath}" inspect "${table}" | head -n 1; exit \${PIPESTATUS[0]}`;
    const early = await run("bash", ["-c", command]);
    expect(early.stderr).to.equal("");
    expect(early.code).to.equal(0);
    expect(early.stdout.split("\n").length).to.equal(2);
  });

  it("with a damaged table: check names it and exits with 1, reads of what is there go on, the rest says IOERR", async () => {
    const server = await withTables();
    await server.terminate();
    const table = tableOf(server);
    damage(join(storeOf(server), table), 1_000);
    const { code, stdout } = await runKindred(["check", server.directory]);
    expect(code).to.equal(1);
    expect(stdout).to.include(table).and.to.include("--salvage");

    await server.restart();
    const client = await server.connect();
    let [right, refused] = [0, 0];
    for (let at = 0; at < KEYS; at++) {
      const reply = await client.send("GET", `key:${at}`);
      if (reply === `value of ${at}`) right++;
      else if (reply instanceof Error && reply.message.startsWith("IOERR ")) refused++;
      else expect.fail(`key:${at} is answered ${String(reply)}`);
    }
    expect(refused).to.be.within(1, KEYS / 2);
    expect(right).to.equal(KEYS - refused);
    await client.close();
  });

  /** A server whose keys are in tables. */
  async function withTables(): Promise<ServerProcess> {
    const server = await servers.start({ settings: { "memory-table-bytes": "256kb", "table-bytes": "256kb" } });
    const client = await server.connect();
    const replies = Array.from({ length: KEYS }, (_, at) => client.send("SET", `key:${at}`, `value of ${at}`));
    for (const reply of await Promise.all(replies)) expect(reply).to.equal("OK");
    await until({ what: "the first memory table is flushed", withinMs: 10_000 }, async () => {
      await client.call("SET", "more", "x".repeat(10_000));
      const storage = await client.info("storage");
      return Number(storage.get("flushes")) > 0 && storage.get("is_flushing") === "0" ? true : null;
    });
    await client.close();
    return server;
  }
});

function storeOf(server: ServerProcess): string {
  return join(server.directory, "store");
}

function tableOf(server: ServerProcess): string {
  return readdirSync(storeOf(server)).filter((name) => name.endsWith(".table"))[0]!;
}

function damage(path: string, at: number): void {
  const file = openSync(path, "r+");
  try {
    writeSync(file, Buffer.from("damaged!"), 0, 8, at);
  } finally {
    closeSync(file);
  }
}
