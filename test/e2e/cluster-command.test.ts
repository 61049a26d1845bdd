/** `kindred cluster`, `status`, `ring` and `where`: real processes, real signals, real ports. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { pause } from "./cluster-load.js";
import { ClusterProcess, closed, isProcess, listening, portOf } from "./cluster-process.js";
import { freePorts } from "./ports.js";
import { mainPath, type Outcome, run, runKindred } from "./program.js";
import { until } from "./until.js";
import { WireClient } from "./wire-client.js";

describe("kindred cluster", function () {
  this.timeout(120_000);
  const clusters: ClusterProcess[] = [];
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "kindred-cluster-"));
  });
  afterEach(async function () {
    if (this.currentTest?.isFailed()) for (const { output } of clusters) process.stdout.write(output.slice(-5_000));
    await Promise.all(clusters.splice(0).map((cluster) => cluster.end()));
    rmSync(directory, { recursive: true, force: true });
  });

  const launch = (args: readonly string[], environment: Readonly<Record<string, string>> = {}): ClusterProcess => {
    const cluster = new ClusterProcess(["--dir", directory, ...args], environment);
    clusters.push(cluster);
    return cluster;
  };
  const started = async (nodes: number, ...args: readonly string[]): Promise<{ cluster: ClusterProcess; port: number }> => {
    const port = await freePorts(nodes);
    const cluster = launch(["--nodes", `${nodes}`, "--port", `${port}`, ...args]);
    await cluster.ready();
    return { cluster, port };
  };

  for (const [nodes, signal] of [
    [1, "SIGINT"],
    [3, "SIGTERM"],
  ] as const) {
    it(`runs ${nodes} on ports in a row, stops all on ${signal} with exit code 0, and starts again with its data`, async () => {
      const { cluster, port } = await started(nodes, "--appendfsync", "always");
      expect(cluster.processIds.length).to.equal(nodes);
      for (let at = 0; at < nodes; at++) {
        const client = await WireClient.connect(port + at);
        expect(await client.call("SET", `key${at}`, `value${at}`)).to.equal("OK");
        expect(await client.call("CONFIG", "GET", "appendfsync")).to.deep.equal(["appendfsync", "always"]);
        await client.close();
      }
      expect(cluster.output).to.match(/^node-a \| .*ready to accept connections/m);
      expect(cluster.output).to.include(`redis-cli -p ${port}`).and.to.include(`kindred status --port ${port}`);
      cluster.signal(signal);
      expect(await cluster.stopped()).to.deep.equal({ code: 0, signal: null });
      expect(cluster.output.match(/everything acknowledged is on the disk/g)).to.have.lengthOf(nodes);
      expect(cluster.processIds.filter(isProcess)).to.deep.equal([]);

      const again = launch(["--nodes", `${nodes}`, "--port", `${port}`]);
      await again.ready();
      for (let at = 0; at < nodes; at++) {
        const client = await WireClient.connect(port + at);
        expect(await client.call("GET", `key${at}`)).to.equal(`value${at}`);
        await client.close();
      }
      again.signal("SIGTERM");
      expect(await again.stopped()).to.deep.equal({ code: 0, signal: null });
    });
  }

  it("says which member ended and how to start it again; the others go on, and stop in order", async () => {
    const { cluster, port } = await started(2);
    process.kill(cluster.processIds[1]!, "SIGKILL");
    await until({ what: "it is said", withinMs: 10_000 }, () =>
      cluster.output.includes("node-b ended (SIGKILL)") ? true : null,
    );
    expect(cluster.output).to.match(new RegExp(`1 of 2 go on. To start it again: npx kindred server .*--port ${port + 1}`));
    const client = await WireClient.connect(port);
    expect(await client.call("PING")).to.equal("PONG");
    await client.close();
    cluster.signal("SIGTERM");
    expect(await cluster.stopped()).to.deep.equal({ code: 0, signal: null });
  });

  it("a second signal kills members that do not stop", async () => {
    const { cluster } = await started(2);
    // Stopped by SIGSTOP a process does not see SIGTERM.
    process.kill(cluster.processIds[0]!, "SIGSTOP");
    cluster.signal("SIGINT");
    await until({ what: "node-b has stopped", withinMs: 10_000 }, () => (isProcess(cluster.processIds[1]!) ? null : true));
    expect(cluster.isRunning).to.equal(true);
    // What comes sooner is the same Ctrl-C, passed on by who started it.
    await pause(600);
    cluster.signal("SIGINT");
    expect(await cluster.stopped()).to.deep.equal({ code: 1, signal: null });
    expect(cluster.output).to.include("killing node-a\n");
    expect(cluster.processIds.filter(isProcess)).to.deep.equal([]);
  });

  it("members go on when it is killed itself, as its help says, and stop on SIGTERM", async () => {
    const { cluster, port } = await started(1);
    cluster.signal("SIGKILL");
    await cluster.stopped();
    const client = await WireClient.connect(port);
    expect(await client.call("SET", "after", "the end")).to.equal("OK");
    // It logs this, into a pipe that nobody reads any more.
    expect(await client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")).to.equal("OK");
    expect(await client.call("GET", "after")).to.equal("the end");
    await client.close();
    const [processId] = cluster.processIds;
    process.kill(processId!, "SIGTERM");
    await until({ what: "the member stops", withinMs: 10_000 }, () => (isProcess(processId!) ? null : true));
    const again = launch(["--nodes", "1", "--port", `${port}`]);
    await again.ready();
    expect(again.output).to.include('"lastStop":"clean"');
    again.signal("SIGTERM");
    await again.stopped();
  });

  it("whoever stops reading its output stops the members", async () => {
    const port = await freePorts(1);
    // The first two lines are the member's; what is printed next has no reader.
    const command = `"${process.execPath}" "${mainPath}" cluster --nodes 1 --port ${port} --dir "${directory}" | head -n 2; exit \${PIPESTATUS[0]}`;
    const ended = run("bash", ["-c", command], { withinMs: 60_000 });
    const connected = () => WireClient.connect(port).catch(() => null);
    await (await until({ what: "the member listens", withinMs: 30_000 }, connected)).close();
    // All that is printed at the start may have been read together with the first lines.
    await pause(500);
    const stranger = connect(port + 10_000, "127.0.0.1");
    stranger.on("error", () => undefined).end("no hello of a member, which the member complains of");
    const outcome = await ended;
    expect(outcome).to.include({ code: 0, stderr: "" });
    expect(outcome.stdout).to.include("ready to accept connections");
    expect(await WireClient.connect(port).catch(() => "refused")).to.equal("refused");
    const again = launch(["--nodes", "1", "--port", `${port}`]);
    await again.ready();
    expect(again.output).to.include('"lastStop":"clean"');
    again.signal("SIGTERM");
    await again.stopped();
  });

  it("ports in use are refused with all of them before anything is started", async () => {
    const port = await freePorts(3);
    const taken = await Promise.all([listening(port + 1), listening(port + 10_002)]);
    try {
      const outcome = await runKindred(["cluster", "--nodes", "3", "--port", `${port}`, "--dir", join(directory, "none")]);
      expect(outcome.code).to.equal(1);
      expect(outcome.stderr)
        .to.match(/^kindred: ports /)
        .and.to.include(`${port + 1}, ${port + 10_002} are in use`)
        .and.to.include("--port");
      expect(outcome.stdout).to.equal("");
    } finally {
      await Promise.all(taken.map(closed));
    }
  });

  it("a directory that another process uses fails the start with its words, and no member is left", async () => {
    const { cluster } = await started(2);
    const port = await freePorts(2);
    const second = await runKindred(["cluster", "--nodes", "2", "--port", `${port}`, "--dir", directory], { withinMs: 60_000 });
    expect(second.code).to.equal(1);
    expect(second.stderr)
      .to.match(/^kindred: node-[ab] ended before it was ready \(exit code 1\): /)
      .and.to.match(/in use/);
    expect(second.stderr).not.to.include("    at ");
    for (const at of [0, 1]) expect(await WireClient.connect(port + at).catch(() => "refused")).to.equal("refused");
    cluster.signal("SIGTERM");
    expect(await cluster.stopped()).to.deep.equal({ code: 0, signal: null });
  });

  it("settings that are wrong are refused at once, with exit code 2", async () => {
    const refused: readonly (readonly string[])[] = [
      ["--nodes", "101"],
      ["--appendfsync", "never"],
      ["--port", "65535"],
      ["--dir", directory, "--config", join(directory, "none.json")],
    ];
    for (const args of refused) {
      const outcome = await runKindred(["cluster", ...args], { directory });
      expect(outcome.code, args.join(" ")).to.equal(2);
      expect(outcome.stdout).to.equal("");
      expect(outcome.stderr).not.to.include("    at ");
    }
  });

  it("tells of members that are there and not started", async () => {
    mkdirSync(join(directory, "node-c"));
    const { cluster } = await started(1);
    expect(cluster.output).to.include("has data of node-c too, which --nodes 1 does not start");
    cluster.signal("SIGTERM");
    await cluster.stopped();
  });

  it("status, ring and where show a member's answers, with the password of the environment", async () => {
    const port = await freePorts(1);
    const cluster = launch(["--nodes", "1", "--port", `${port}`], { KINDRED_REQUIREPASS: "s3cret" });
    await cluster.ready();
    const environment = { KINDRED_REQUIREPASS: "s3cret" };
    const ask = (...args: string[]): Promise<Outcome> => runKindred([...args, "--port", `${port}`], { environment });
    const client = await WireClient.connect(port);
    // Our client writes latin1.
    const wireKey = Buffer.from("clé").toString("latin1");
    await client.call("AUTH", "s3cret");
    await client.call("SELECT", "2");
    await client.call("SET", wireKey, "12345");
    const status = await ask("status");
    expect(status.code, status.stderr).to.equal(0);
    expect(status.stdout)
      .to.match(/^MEMBER +STATE /m)
      .and.to.include(`127.0.0.1:${port}`);
    expect(status.stdout).not.to.include("\u001b");
    expect((await ask("ring")).stdout).to.match(/^MEMBER +ID /m);
    expect((await ask("where", "clé", "--db", "2")).stdout)
      .to.match(/^key "clé" of database 2 is in slot \d+\n/)
      .and.to.match(/ holds .* 5 B +never\n/);
    expect((await ask("where", "clé")).stdout).to.include("absent");
    const json = JSON.parse((await ask("where", "clé", "--db", "2", "--json")).stdout);
    expect(json).to.include({ key: "clé", database: 2, slot: Number(await client.call("CLUSTER", "KEYSLOT", wireKey)) });
    expect(JSON.parse((await ask("status", "--json")).stdout).members).to.have.lengthOf(1);
    await client.close();

    for (const [args, says] of [
      [[], "wants a password"],
      [["--password", "wrong"], "refuses the password"],
    ] as const) {
      const outcome = await runKindred(["status", "--port", `${port}`, ...args]);
      expect(outcome.code).to.equal(1);
      expect(outcome.stderr)
        .to.match(/^kindred: [^\n]*\n$/)
        .and.to.include(says);
    }
    cluster.signal("SIGTERM");
    await cluster.stopped();
  });
});

describe("kindred status", function () {
  this.timeout(60_000);

  for (const [title, answer, says] of [
    ["a Redis without clusters", "-ERR This instance has cluster support disabled\r\n", "does not know CLUSTER STATUS"],
    ["an older server", "-ERR unknown subcommand 'STATUS'. Try CLUSTER HELP.\r\n", "does not know CLUSTER STATUS"],
    ["a server that refuses", "-DENIED not from here\r\n", "answers: DENIED not from here"],
    ["no JSON", "$2\r\n{{\r\n", "is no answer of a Kindred node"],
    ["another JSON", '$8\r\n{"a":"b"}\r\n'.replace("$8", "$9"), "has no members"],
    ["no Redis protocol", "HTTP/1.1 400 Bad Request\r\n\r\n", "is no answer of a Kindred node"],
    ["silence that ends", "", "closed the connection"],
  ] as const) {
    it(`meets ${title} with one line and exit code 1`, async () => {
      const server = await listening(0, (write) => write(answer));
      const outcome = await runKindred(["status", "--port", `${portOf(server)}`]);
      await closed(server);
      expect(outcome.code).to.equal(1);
      expect(outcome.stdout).to.equal("");
      expect(outcome.stderr)
        .to.match(/^kindred: [^\n]*\n$/)
        .and.to.include(says);
    });
  }

  it("says so where nothing listens", async () => {
    const server = await listening(0);
    const port = portOf(server);
    await closed(server);
    const outcome = await runKindred(["status", "--port", `${port}`]);
    expect(outcome.code).to.equal(1);
    expect(outcome.stderr)
      .to.match(/^kindred: nothing listens on [^\n]*\n$/)
      .and.to.include(`127.0.0.1:${port}`);
  });
});
