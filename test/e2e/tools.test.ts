/** Redis's own command-line tools, unchanged, against a real server. */
import { expect } from "chai";
import { isInstalled, run, skip } from "./program.js";
import { type ServerProcess, serversOfSuite } from "./server-process.js";
import { encodeRequest } from "./wire-client.js";

describe("redis-cli", function () {
  this.timeout(30_000);
  const servers = serversOfSuite();
  let server: ServerProcess;

  before(async function () {
    if (!isInstalled("redis-cli")) return skip(this, "redis-cli is not installed (Debian: redis-tools)");
    server = await servers.start();
  });

  const cli = async (args: readonly string[], input?: string | Buffer): Promise<string> => {
    const outcome = await run("redis-cli", ["-p", `${server.port}`, ...args], { ...(input !== undefined && { input }) });
    expect(outcome.code, `${outcome.stdout}${outcome.stderr}`).to.equal(0);
    expect(outcome.stderr).to.equal("");
    return outcome.stdout;
  };

  it("runs one command", async () => {
    expect(await cli(["SET", "greeting", "hello there"])).to.equal("OK\n");
    expect(await cli(["GET", "greeting"])).to.equal("hello there\n");
    expect(await cli(["INFO", "server"])).to.match(/^# Server\r?\nredis_version:7\.2\.4/);
    expect(await cli(["NOSUCH", "a"])).to.match(/^ERR unknown command 'NOSUCH'/);
  });

  it("speaks RESP3 with -3, and shows maps as such", async () => {
    expect(await cli(["-3", "HELLO"])).to.match(/proto 3/);
    expect(await cli(["-3", "--json", "CONFIG", "GET", "maxclients"])).to.equal('{"maxclients":"10000"}\n');
    await cli(["SET", "sibling", "only"]);
    const shown = JSON.parse(await cli(["-3", "--json", "SIBLINGS", "sibling"]));
    expect(shown.versions[0].value).to.equal("only");
    const settings = JSON.parse(await cli(["-3", "--json", "CONSISTENCY"]));
    expect(settings).to.include({ level: "QUORUM", n: 1, r: 1, w: 1 });
  });

  it("reads commands from stdin, COMMAND DOCS among them", async () => {
    const output = await cli([], "SET a 1\nINCR a\nGET a\nCOMMAND DOCS get siblings\nPING\n");
    expect(output.split("\n").slice(0, 3)).to.deep.equal(["OK", "2", "2"]);
    expect(output)
      .to.include("summary")
      .and.to.include("siblings")
      .and.to.match(/PONG\n$/);
    const all = await cli(["COMMAND", "DOCS"]);
    for (const name of ["consistency", "siblings", "set", "getrange", "client|kill"]) expect(all).to.include(name);
  });

  it("loads with --pipe", async () => {
    const pairs = 10_000;
    const load = Buffer.concat(Array.from({ length: pairs }, (_, at) => encodeRequest(["SET", `piped:${at}`, `value ${at}`])));
    expect(await cli(["--pipe"], load)).to.include(`errors: 0, replies: ${pairs}`);
    expect(await cli(["GET", `piped:${pairs - 1}`])).to.equal(`value ${pairs - 1}\n`);
  });

  it("lists keys with --scan, and each of them", async () => {
    await cli(["MSET", ...Array.from({ length: 100 }, (_, at) => [`scanned:${at}`, "x"]).flat()]);
    const listed = (await cli(["--scan", "--pattern", "scanned:*"])).trim().split("\n");
    expect(new Set(listed).size).to.equal(100);
  });

  it("finds the biggest keys with --bigkeys and --memkeys", async () => {
    await cli(["SET", "biggest", "x".repeat(9_000)]);
    expect(await cli(["--bigkeys"]))
      .to.include("Biggest string")
      .and.to.include(`'"biggest"' has 9000 bytes`);
    expect(await cli(["--memkeys"])).to.include(`'"biggest"' has`);
  });

  it("shows one tick of --stat", async () => {
    // It goes on until it is stopped.
    const tick = /keys\s+mem\s+clients.*\n\d+\s+\d\S*\s+\d+.*\n/;
    const args = ["-p", `${server.port}`, "--stat", "-i", "0.01"];
    expect((await run("redis-cli", args, { endAfter: tick })).stdout).to.match(tick);
  });

  it("measures --latency, --latency-history and --latency-dist for a while", async () => {
    // Without a terminal redis-cli measures for a second, prints one line and ends.
    expect(await cli(["--latency", "-i", "0.1"])).to.match(/^\d+ [\d.]+ [\d.]+ \d+/);
  });

  it("retries nothing when the server refuses: --no-auth-warning -a with no password set says so", async () => {
    const outcome = await run("redis-cli", ["-p", `${server.port}`, "--no-auth-warning", "-a", "none", "PING"]);
    expect(outcome.stdout).to.include("PONG");
    expect(outcome.stderr).to.include("AUTH failed: ERR AUTH <password> called without any password configured");
  });
});

describe("redis-benchmark", function () {
  this.timeout(60_000);
  const servers = serversOfSuite();
  let server: ServerProcess;

  before(async function () {
    if (!isInstalled("redis-benchmark")) return skip(this, "redis-benchmark is not installed (Debian: redis-tools)");
    server = await servers.start();
  });

  const TESTS = "ping_inline,ping_mbulk,set,get,incr,mset";
  const runs: readonly { readonly title: string; readonly args: readonly string[] }[] = [
    { title: "with pipelines of 16", args: ["-P", "16", "-n", "20000"] },
    { title: "in RESP3", args: ["-3", "-P", "16", "-n", "20000"] },
    { title: "one request at a time, from random keys, with values of 1 KB", args: ["-n", "2000", "-r", "1000", "-d", "1024"] },
    { title: "with two threads", args: ["-P", "16", "-n", "20000", "--threads", "2"] },
  ];
  for (const { title, args } of runs) {
    it(`runs its string tests to the end without an error ${title}`, async () => {
      const all = ["-p", `${server.port}`, "-t", TESTS, "--csv", ...args];
      const { code, stdout, stderr } = await run("redis-benchmark", all, { withinMs: 30_000 });
      expect(code, stdout + stderr).to.equal(0);
      const names = stdout.split("\n").flatMap((line) => /^"([^"]+)","[\d.]+"/.exec(line)?.[1] ?? []);
      expect(names).to.deep.equal(["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"]);
      expect(stderr + stdout).not.to.match(/error/i);
    });
  }

  it("runs a command of its user's choosing", async () => {
    const args = [
      "-p",
      `${server.port}`,
      "-P",
      "16",
      "-n",
      "5000",
      "-r",
      "100",
      "--csv",
      "CONSISTENCY",
      "ONE",
      "SET",
      "k:__rand_int__",
      "v",
    ];
    const { code, stdout, stderr } = await run("redis-benchmark", args);
    expect(code, stdout + stderr).to.equal(0);
    const client = await server.connect();
    expect(Number(await client.call("DBSIZE"))).to.be.at.least(100);
    await client.close();
  });
});
