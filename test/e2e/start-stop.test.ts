/** A server's life: how it starts, refuses to start, and stops. Real processes, real signals. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { freePorts } from "./ports.js";
import { cleanEnvironment, mainPath, runKindred, skip } from "./program.js";
import { serversOfTest } from "./server-process.js";
import { until, within } from "./until.js";
import { WireClient, type WireReply } from "./wire-client.js";

const EXIT_USAGE = 2;
const EXIT_FAILURE = 1;

describe("a server process", function () {
  this.timeout(60_000);
  const servers = serversOfTest();

  for (const fsync of ["always", "everysec", "no"]) {
    it(`SIGTERM under load with appendfsync ${fsync}: answers what is in flight, exits 0, and the next start is clean`, async () => {
      const server = await servers.start({ settings: { appendfsync: fsync } });
      const load = await AcknowledgedLoad.start(server.port);
      await until({ what: "a load of 2,000 answers", withinMs: 10_000 }, () => (load.acknowledged >= 2_000 ? true : null));
      const exit = await server.terminate();
      await load.ended;
      expect(exit).to.deep.equal({ code: 0, signal: null });
      expect(load.wrong, "replies that are not OK").to.deep.equal([]);
      expect(server.output).to.include("everything acknowledged is on the disk");

      await server.restart();
      expect(server.log.find(({ msg }) => msg.startsWith("ready"))).to.include({ lastStop: "clean" });
      const client = await server.connect();
      const size = Number(await client.call("DBSIZE"));
      expect(size).to.be.within(load.acknowledged, load.sent);
      expect(await load.missing(client)).to.deep.equal([]);
      await client.close();
    });
  }

  it("SHUTDOWN ends the process with 0, and the next start is clean and has the data", async () => {
    const server = await servers.start();
    const client = await server.connect();
    await client.call("SET", "kept", "value");
    const reply = client.send("SHUTDOWN").catch(() => "closed");
    expect(await within({ what: "the process ends", withinMs: 10_000 }, server.exit)).to.deep.equal({ code: 0, signal: null });
    expect(await reply).to.equal("closed");
    await server.restart();
    expect(server.log.find(({ msg }) => msg.startsWith("ready"))).to.include({ lastStop: "clean" });
    const later = await server.connect();
    expect(await later.call("GET", "kept")).to.equal("value");
    await later.close();
  });

  it("SIGTERM while it looks for a ring ends it in order, and until then clients are told what it waits for", async () => {
    const port = await freePorts(1);
    const directory = servers.makeDirectory();
    const args = ["--port", `${port}`, "--dir", directory, "--seeds", "127.0.0.1:1", "--log-format", "json"];
    const child = spawn(process.execPath, [mainPath, "server", ...args], { stdio: "ignore", env: cleanEnvironment() });
    const exit = once(child, "exit");
    try {
      const told = /^LOADING .*: waiting for a ring to join \(the peer at 127\.0\.0\.1:1: cannot connect/;
      await until({ what: "clients are told why", withinMs: 20_000 }, async () => {
        const client = await WireClient.connect(port).catch(() => null);
        const reply = await client?.call("PING").catch((error: unknown) => error);
        await client?.close();
        return reply instanceof Error && told.test(reply.message) ? true : null;
      });
    } finally {
      child.kill("SIGTERM");
    }
    expect(await exit).to.deep.equal([0, null]);
    const next = await servers.start({ directory });
    expect(next.log.find(({ msg }) => msg.startsWith("ready"))).to.include({ lastStop: "clean" });
  });

  it("a start that fails for a port in use leaves a clean store behind", async () => {
    const server = await servers.start();
    const directory = join(server.directory, "second");
    const failed = await runKindred(["server", "--port", `${server.port}`, "--peer-port", "0", "--dir", directory]);
    expect(failed.code).to.equal(EXIT_FAILURE);
    const next = await servers.start({ directory });
    expect(next.log.find(({ msg }) => msg.startsWith("ready"))).to.include({ lastStop: "clean" });
  });

  it("a stop with idle, half-fed and unread connections is quick", async () => {
    const server = await servers.start();
    const clients = await Promise.all(Array.from({ length: 20 }, () => server.connect()));
    for (const [at, client] of clients.entries()) if (at % 2 === 0) await client.sendRaw("*3\r\n$3\r\nSET\r\n$100\r\nabc");
    const startedMs = performance.now();
    expect(await server.terminate()).to.deep.equal({ code: 0, signal: null });
    expect(performance.now() - startedMs).to.be.below(5_000);
    await Promise.all(clients.map((client) => within({ what: "the server closes", withinMs: 5_000 }, client.closed)));
  });

  it("a second server on the same directory is refused with the reason, and the first goes on", async () => {
    const server = await servers.start();
    const second = await runKindred(["server", "--port", "0", "--dir", server.directory, "--log-format", "json"]);
    expect(second.code).to.equal(EXIT_FAILURE);
    expect(second.stderr)
      .to.match(/^kindred: .*in use/)
      .and.to.include(server.directory)
      .and.to.include(String(server.pid));
    expect(second.stderr).not.to.include("    at ");
    const client = await server.connect();
    expect(await client.call("SET", "a", "b")).to.equal("OK");
    await client.close();
  });

  it("the directory of a killed server is taken over", async () => {
    const server = await servers.start();
    await server.kill();
    await server.restart();
    expect(server.log.find(({ msg }) => msg.startsWith("ready"))).to.include({ lastStop: "unclean" });
  });

  it("a port in use is refused with the address and what to do", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    try {
      const outcome = await runKindred(["server", "--port", `${port}`, "--peer-port", "0", "--dir", servers.makeDirectory()]);
      expect(outcome.code).to.equal(EXIT_FAILURE);
      expect(outcome.stderr)
        .to.match(/^kindred: /)
        .and.to.include(`127.0.0.1:${port}`)
        .and.to.include("another port");
      expect(outcome.stderr).not.to.include("    at ");
    } finally {
      taken.close();
    }
  });

  it("a data directory that cannot be made is refused with its name", async () => {
    const file = join(servers.makeDirectory(), "file");
    writeFileSync(file, "");
    const outcome = await runKindred(["server", "--port", "0", "--dir", join(file, "data")]);
    expect(outcome.code).to.equal(EXIT_FAILURE);
    expect(outcome.stderr)
      .to.match(/^kindred: /)
      .and.to.include(file);
    expect(outcome.stderr).not.to.include("    at ");
  });
});

describe("settings on the command line", function () {
  this.timeout(30_000);
  const servers = serversOfTest();

  const refused: readonly { readonly title: string; readonly args: readonly string[]; readonly says: readonly string[] }[] = [
    { title: "an unknown flag, with the nearest name", args: ["--maxclient", "5"], says: ["--maxclient", "--maxclients"] },
    { title: "a number out of range, with the range", args: ["--port", "70000"], says: ["--port", "0 to 65535", "70000"] },
    { title: "a number that is none", args: ["--maxclients", "many"], says: ["--maxclients", "many"] },
    { title: "bytes below the least", args: ["--max-pair-bytes", "10"], says: ["--max-pair-bytes", "10"] },
    {
      title: "a word that is no choice",
      args: ["--appendfsync", "never"],
      says: ["--appendfsync", "always", "everysec", "never"],
    },
    { title: "an unknown command", args: ["serve"], says: ["serve"] },
  ];
  for (const { title, args, says } of refused) {
    it(`refuse ${title}, and exit with 2`, async () => {
      const command = args[0]!.startsWith("--") ? ["server"] : [];
      const { code, stdout, stderr } = await runKindred([...command, ...args], { directory: servers.makeDirectory() });
      expect(code, stdout).to.equal(EXIT_USAGE);
      for (const text of says) expect(stderr).to.include(text);
      expect(stderr).not.to.include("    at ");
    });
  }

  it("refuse an unknown variable of the environment and an unknown name in the file, with the nearest name", async () => {
    const directory = servers.makeDirectory();
    const environment = { KINDRED_MAXCLIENT: "5" };
    const fromEnvironment = await runKindred(["server", "--dir", directory], { environment });
    expect(fromEnvironment.code).to.equal(EXIT_USAGE);
    expect(fromEnvironment.stderr).to.include("KINDRED_MAXCLIENT").and.to.include("maxclients");
    const file = join(directory, "kindred.json");
    writeFileSync(file, JSON.stringify({ appendfsinc: "always" }));
    const fromFile = await runKindred(["server", "--config", file]);
    expect(fromFile.code).to.equal(EXIT_USAGE);
    expect(fromFile.stderr).to.include("appendfsinc").and.to.include(file).and.to.include("appendfsync");
  });

  it("come from flags before the environment, and from the environment before the file", async () => {
    const directory = servers.makeDirectory();
    const file = join(directory, "kindred.json");
    writeFileSync(file, JSON.stringify({ maxclients: 11, timeout: 12, "siblings-max": 13 }));
    const environment = { KINDRED_CONFIG: file, KINDRED_TIMEOUT: "22", KINDRED_SIBLINGS_MAX: "23" };
    const server = await servers.start({ settings: { "siblings-max": "33" }, environment });
    const client = await server.connect();
    expect(await client.call("CONFIG", "GET", "maxclients")).to.deep.equal(["maxclients", "11"]);
    expect(await client.call("CONFIG", "GET", "timeout")).to.deep.equal(["timeout", "22"]);
    expect(await client.call("CONFIG", "GET", "siblings-max")).to.deep.equal(["siblings-max", "33"]);
    await client.close();
  });

  for (const args of [
    ["--help"],
    ["server", "--help"],
    ["check", "--help"],
    ["inspect", "--help"],
    ["cluster", "--help"],
    ["status", "--help"],
    ["ring", "--help"],
    ["where", "--help"],
    ["help"],
    ["help", "server"],
  ]) {
    it(`kindred ${args.join(" ")} prints help to stdout and exits with 0`, async () => {
      const { code, stdout, stderr } = await runKindred(args);
      expect(code).to.equal(0);
      expect(stderr).to.equal("");
      expect(stdout)
        .to.match(/^Usage: kindred/)
        .and.to.match(/\n {2}\S/);
    });
  }

  it("kindred --version prints the version of the package", async () => {
    expect(await runKindred(["--version"])).to.include({ code: 0, stdout: "0.1.0\n" });
  });

  it("kindred check and inspect without an argument, or of nothing, say so and do not exit with 0", async () => {
    for (const command of ["check", "inspect"]) {
      expect(await runKindred([command])).to.include({ code: EXIT_USAGE });
    }
  });
});

describe("who may connect", function () {
  this.timeout(30_000);
  const servers = serversOfTest();

  it("without the password nothing but AUTH is served, and a wrong one is refused", async () => {
    const server = await servers.start({ settings: { requirepass: "s3cret" } });
    const client = await server.connect();
    expect(await client.refusal("GET", "a")).to.equal("NOAUTH Authentication required.");
    expect(await client.refusal("AUTH", "wrong")).to.match(/^WRONGPASS /);
    expect(await client.refusal("SHUTDOWN")).to.match(/^NOAUTH /);
    expect(await client.call("AUTH", "s3cret")).to.equal("OK");
    expect(await client.call("SET", "a", "b")).to.equal("OK");
    const other = await server.connect();
    expect(await other.refusal("GET", "a")).to.match(/^NOAUTH /);
    expect(await other.call("AUTH", "default", "s3cret")).to.equal("OK");
    expect(server.output).not.to.include("s3cret");
    await Promise.all([client.close(), other.close()]);
  });

  it("CONFIG SET requirepass locks out new connections at once", async () => {
    const server = await servers.start();
    const client = await server.connect();
    await client.call("CONFIG", "SET", "requirepass", "later");
    const other = await server.connect();
    expect(await other.refusal("PING")).to.match(/^NOAUTH /);
    await Promise.all([client.close(), other.close()]);
  });

  it("protected mode: from an address of the outside nothing is served, and the refusal says what to do", async function () {
    const outside = addressOfOutside();
    if (outside === null) return skip(this, "this machine has no address but loopback ones");
    const server = await servers.start({ settings: { bind: "0.0.0.0" } });
    const stranger = await WireClient.connect(server.port, outside);
    await stranger.sendRaw("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n");
    await within({ what: "the server closes the connection", withinMs: 5_000 }, stranger.closed);
    expect(stranger.unasked.length).to.equal(1);
    expect(String(stranger.unasked[0]))
      .to.include("DENIED")
      .and.to.include("--requirepass")
      .and.to.include("--bind")
      .and.to.include("--protected-mode no");

    const local = await server.connect();
    expect(await local.call("EXISTS", "a")).to.equal(0);
    await local.call("CONFIG", "SET", "requirepass", "pw");
    const known = await WireClient.connect(server.port, outside);
    expect(await known.refusal("PING")).to.match(/^NOAUTH /);
    expect(await known.call("AUTH", "pw")).to.equal("OK");
    expect(await known.call("PING")).to.equal("PONG");
    await Promise.all([local.close(), known.close()]);
  });

  it("maxclients: one more is told so and closed; a place that becomes free is given away", async () => {
    const server = await servers.start({ settings: { maxclients: "3" } });
    const clients = await Promise.all([server.connect(), server.connect(), server.connect()]);
    for (const client of clients) await client.call("PING");
    const further = await server.connect();
    await within({ what: "the server closes the connection", withinMs: 5_000 }, further.closed);
    expect(String(further.unasked[0])).to.include("max number of clients reached");
    await clients[0]!.close();
    await until({ what: "a further client is served", withinMs: 5_000 }, async () => {
      const next = await server.connect();
      const reply = await next.send("PING").catch(() => null);
      await next.close();
      return reply === "PONG" ? true : null;
    });
    await Promise.all(clients.map((client) => client.close()));
  });

  it("a half-closed connection gets its replies", async () => {
    const server = await servers.start({ settings: { appendfsync: "always" } });
    const client = await server.connect();
    await client.sendRaw("SET a b\r\nGET a\r\n");
    client.end();
    await within({ what: "the server closes the connection", withinMs: 5_000 }, client.closed);
    expect(client.unasked).to.deep.equal(["OK", "b"]);
  });
});

/** An address of this machine that is no loopback one. */
function addressOfOutside(): string | null {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const { family, internal, address } of addresses ?? []) if (family === "IPv4" && !internal) return address;
  }
  return null;
}

const CONNECTIONS = 8;
const DEPTH = 32;

/** Connections that keep a pipeline of SETs of ever new keys full, and know which were acknowledged. */
class AcknowledgedLoad {
  readonly #keys: string[] = [];
  readonly wrong: WireReply[] = [];
  sent = 0;
  ended: Promise<unknown> = Promise.resolve();

  static async start(port: number): Promise<AcknowledgedLoad> {
    const load = new AcknowledgedLoad();
    const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => WireClient.connect(port)));
    const lanes = clients.flatMap((client) => Array.from({ length: DEPTH }, () => load.#run(client)));
    load.ended = Promise.all(lanes);
    return load;
  }

  get acknowledged(): number {
    return this.#keys.length;
  }

  /** Acknowledged keys that are not there. */
  async missing(client: WireClient): Promise<readonly string[]> {
    const found = await Promise.all(this.#keys.map((key) => client.send("GET", key)));
    return this.#keys.filter((key, at) => found[at] !== `value of ${key}`);
  }

  async #run(client: WireClient): Promise<void> {
    for (;;) {
      const key = `key:${this.sent++}`;
      let reply: WireReply;
      try {
        reply = await client.send("SET", key, `value of ${key}`);
      } catch {
        return;
      }
      if (reply === "OK") this.#keys.push(key);
      else this.wrong.push(reply);
    }
  }
}
