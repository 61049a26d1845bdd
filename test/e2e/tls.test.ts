/** A real server over TLS: with a client library, with redis-cli, with whoever has no TLS, and with files that are wrong. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import tls from "node:tls";
import { expect } from "chai";
import { Redis } from "ioredis";
import { Authority, type CertificateOptions } from "../host/certificates.js";
import { isInstalled, type Outcome, run, runKindred, skip } from "./program.js";
import { type ServerProcess, type ServerSettings, type Servers, serversOfSuite, serversOfTest } from "./server-process.js";
import { until } from "./until.js";
import { encodeRequest } from "./wire-client.js";

const HOST = "127.0.0.1";
const DAY_MS = 86_400_000;
const REFUSED = "a client's connection was refused: ";

/** An authority whose files lie in a directory of the test. */
class Files {
  readonly authority = new Authority("authority of the tests");
  readonly directory: string;
  readonly ca: string;

  constructor(servers: Servers) {
    this.directory = servers.makeDirectory();
    this.ca = this.write("ca.crt", this.authority.cert);
  }

  write(name: string, content: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, content);
    return path;
  }

  issue(name: string, options: CertificateOptions = {}, authority = this.authority): { cert: string; key: string } {
    const minted = authority.issue(name, options);
    return { cert: this.write(`${name}.crt`, minted.cert), key: this.write(`${name}.key`, minted.key) };
  }

  /** The settings of a server with a new certificate. */
  settings(options: CertificateOptions = {}): ServerSettings {
    const { cert, key } = this.issue("server", options);
    return { "tls-cert": cert, "tls-key": key };
  }
}

function refusals(server: ServerProcess): string[] {
  return server.log.flatMap(({ msg }) => (msg.startsWith(REFUSED) ? [msg.slice(REFUSED.length)] : []));
}

describe("a server over TLS", function () {
  this.timeout(30_000);
  const servers = serversOfSuite();
  let files: Files;
  let server: ServerProcess;

  before(async () => {
    files = new Files(servers);
    server = await servers.start({ settings: files.settings() });
  });

  it("serves ioredis, which verifies its certificate and name", async () => {
    const options = { host: HOST, port: server.port, tls: { ca: files.authority.cert }, lazyConnect: true };
    const client = new Redis({ ...options, retryStrategy: () => null });
    try {
      await client.connect();
      expect(await client.set("greeting", "hello there")).to.equal("OK");
      const pipeline = client.pipeline();
      for (let at = 0; at < 5_000; at++) pipeline.set(`piped:${at}`, `value ${at}`);
      const results = (await pipeline.exec())!;
      expect(results.every(([error, reply]) => error === null && reply === "OK")).to.equal(true);
      expect(await client.get("piped:4999")).to.equal("value 4999");
      expect(await client.config("GET", "tls-*"))
        .to.include("tls-auth-clients")
        .and.not.to.include("PRIVATE");
    } finally {
      client.disconnect();
    }
    const untrusting = new Redis({ host: HOST, port: server.port, tls: {}, lazyConnect: true, retryStrategy: () => null });
    untrusting.on("error", () => undefined);
    const error = await untrusting.connect().then(
      () => null,
      (thrown: Error) => thrown,
    );
    expect(error).to.be.instanceOf(Error);
    untrusting.disconnect();
  });

  it("answers what was sent before a half-close, then closes", async () => {
    const socket = tls.connect({ host: HOST, port: server.port, ca: files.authority.cert, allowHalfOpen: true } as object);
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
    });
    const isClosed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    const sets = Array.from({ length: 2_000 }, (_, at) => encodeRequest(["SET", `half:${at}`, "x".repeat(500)]));
    socket.end(Buffer.concat(sets));
    await isClosed;
    expect(received).to.equal("+OK\r\n".repeat(2_000));
  });

  it("refuses clients without TLS, goes on serving, and logs it once however many there are", async () => {
    for (let round = 0; round < 20; round++) {
      const client = await server.connect();
      await client.sendRaw(encodeRequest(["PING"]));
      client.end();
      await client.closed;
      expect(client.unasked).to.deep.equal([]);
    }
    const told = await until({ what: "the refusal is logged", withinMs: 5_000 }, () => refusals(server)[0] ?? null);
    expect(told).to.match(/^it does not speak TLS, and this node does/);
    expect(refusals(server).filter((text) => text === told)).to.have.lengthOf(1);
    expect(server.isRunning).to.equal(true);
  });

  const cli = (port: number, ...args: readonly string[]): Promise<Outcome> =>
    run("redis-cli", ["-h", HOST, "-p", `${port}`, ...args], { environment: { REDISCLI_AUTH: "" } });

  it("kindred status asks over TLS, trusts whom it is told to, and says so where it does not", async () => {
    const trusted = await runKindred(["status", "--port", `${server.port}`, "--tls-ca", files.ca]);
    expect([trusted.code, trusted.stderr]).to.deep.equal([0, ""]);
    expect(trusted.stdout).to.match(/^cluster [0-9a-f]+ /);
    const untrusted = await runKindred(["status", "--port", `${server.port}`, "--tls"]);
    expect(untrusted.code).to.equal(1);
    expect(untrusted.stderr).to.include("is not trusted").and.to.include("--tls-ca");
    const plain = await runKindred(["status", "--port", `${server.port}`]);
    expect(plain.code).to.equal(1);
    expect(plain.stderr).to.include("does it speak TLS (--tls, --tls-ca)");
  });

  describe("redis-cli --tls", () => {
    before(async function () {
      if (!isInstalled("redis-cli")) return skip(this, "redis-cli is not installed (Debian: redis-tools)");
      const { stdout, stderr } = await run("redis-cli", ["--help"]);
      if (!`${stdout}${stderr}`.includes("--cacert")) return skip(this, "this redis-cli was built without TLS");
    });

    it("runs commands, one and many", async () => {
      const trust = ["--tls", "--cacert", files.ca];
      const one = await cli(server.port, ...trust, "SET", "by-cli", "1");
      expect([one.code, one.stdout]).to.deep.equal([0, "OK\n"]);
      expect((await cli(server.port, ...trust, "-3", "--json", "CONFIG", "GET", "maxclients")).stdout).to.contain("maxclients");
      const load = Buffer.concat(Array.from({ length: 5_000 }, (_, at) => encodeRequest(["SET", `cli:${at}`, `value ${at}`])));
      const piped = await run("redis-cli", ["-h", HOST, "-p", `${server.port}`, ...trust, "--pipe"], { input: load });
      expect(piped.stdout).to.contain("errors: 0, replies: 5000");
      expect((await cli(server.port, ...trust, "GET", "cli:4999")).stdout).to.equal("value 4999\n");
      expect((await cli(server.port, "--tls", "--insecure", "GET", "cli:4999")).stdout).to.equal("value 4999\n");
    });

    it("that does not trust the authority leaves, and others are served on", async () => {
      const outcome = await cli(server.port, "--tls", "--cacert", files.write("b.crt", new Authority("b").cert), "PING");
      expect(outcome.code).not.to.equal(0);
      // Whether its alert is read before the end of its connection is chance, so the log may tell of it or not.
      expect((await cli(server.port, "--tls", "--cacert", files.ca, "PING")).stdout).to.equal("PONG\n");
      expect(server.isRunning).to.equal(true);
    });
  });
});

describe("a server over TLS that asks clients for certificates", function () {
  this.timeout(30_000);
  const servers = serversOfTest();

  it("serves those of its authority and tells of others", async () => {
    const files = new Files(servers);
    const server = await servers.start({ settings: { ...files.settings(), "tls-ca": files.ca, "tls-auth-clients": "yes" } });
    const own = files.authority.issue("client", { usages: ["clientAuth"] });
    const stranger = new Authority("another authority").issue("client");
    const outcomes: string[] = [];
    for (const shown of [own, stranger, {}]) {
      const client = new Redis({
        host: HOST,
        port: server.port,
        tls: { ca: files.authority.cert, ...shown },
        lazyConnect: true,
        retryStrategy: () => null,
        maxRetriesPerRequest: 0,
      });
      client.on("error", () => undefined);
      outcomes.push(
        await client
          .connect()
          .then(() => client.ping())
          .catch(() => "refused"),
      );
      client.disconnect();
    }
    expect(outcomes).to.deep.equal(["PONG", "refused", "refused"]);
    const told = await until({ what: "both are logged", withinMs: 5_000 }, () => {
      const texts = refusals(server);
      return texts.length >= 2 ? texts : null;
    });
    expect(told).to.deep.equal([
      "its certificate is not signed by the authority in tls-ca",
      "it presented no certificate, and one signed by the authority in tls-ca is asked for",
    ]);
  });

  it("and with tls-ca alone asks clients for none", async () => {
    const files = new Files(servers);
    const server = await servers.start({ settings: { ...files.settings(), "tls-ca": files.ca } });
    const client = new Redis({ host: HOST, port: server.port, tls: { ca: files.authority.cert } });
    expect(await client.ping()).to.equal("PONG");
    client.disconnect();
  });
});

describe("members over TLS", function () {
  this.timeout(60_000);
  const servers = serversOfTest();
  const clients: Redis[] = [];

  afterEach(() => {
    for (const client of clients.splice(0)) client.disconnect();
  });

  it("join, and answer for each other; one of another authority is refused", async () => {
    const files = new Files(servers);
    const stranger = new Authority("another authority");
    const usages = ["serverAuth", "clientAuth"] as const;
    const clientOf = (port: number): Redis => {
      const made = new Redis({ host: HOST, port, tls: { ca: files.authority.cert }, retryStrategy: () => null });
      clients.push(made.on("error", () => undefined));
      return made;
    };
    const memberOf = (name: string, authority: Authority): ServerSettings => {
      const { cert, key } = files.issue(name, { usages }, authority);
      return { "tls-cert": cert, "tls-key": key, "tls-ca": files.write(`${name}-ca.crt`, authority.cert), name, host: name };
    };
    const first = await servers.start({ settings: memberOf("first", files.authority) });
    const client = clientOf(first.port);
    const members = async (): Promise<readonly { readonly peerAddress: string }[]> =>
      JSON.parse(String(await client.call("CLUSTER", "STATUS"))).members;
    const seeds = (await members())[0]!.peerAddress;
    const second = await servers.start({ settings: { ...memberOf("second", files.authority), seeds } });
    await until({ what: "two members", withinMs: 15_000 }, async () => ((await members()).length === 2 ? true : null));
    const other = clientOf(second.port);
    for (let at = 0; at < 50; at++) expect(await client.set(`key:${at}`, `value ${at}`)).to.equal("OK");
    for (let at = 0; at < 50; at++) expect(await other.get(`key:${at}`)).to.equal(`value ${at}`);

    const settings = { port: "0", "peer-port": "0", dir: servers.makeDirectory(), "log-format": "json", seeds };
    const flags = Object.entries({ ...settings, ...memberOf("third", stranger) }).flatMap(([name, value]) => [
      `--${name}`,
      value,
    ]);
    const refused = await runKindred(["server", ...flags], { withinMs: 40_000, endAfter: /signed by the authority in tls-ca/ });
    expect(refused.stdout + refused.stderr).to.contain("its certificate is not signed by the authority in tls-ca");
    expect(await members()).to.have.lengthOf(2);
  });
});

describe("a server without TLS", function () {
  this.timeout(30_000);
  const servers = serversOfTest();

  it("closes connections with TLS at once and says why, once", async () => {
    const server = await servers.start();
    for (let round = 0; round < 5; round++) {
      const socket = tls.connect({ host: HOST, port: server.port, rejectUnauthorized: false });
      const message = await new Promise<string>((resolve) => {
        socket.on("secureConnect", () => resolve("connected"));
        socket.on("error", (error) => resolve(error.message));
      });
      expect(message).to.match(/disconnected before secure TLS connection|ECONNRESET/);
    }
    const told = await until({ what: "the refusal is logged", withinMs: 5_000 }, () => refusals(server)[0] ?? null);
    expect(told).to.match(/^it speaks TLS, and this node does not/);
    expect(refusals(server)).to.have.lengthOf(1);
    const client = await server.connect();
    expect(await client.call("PING")).to.equal("PONG");
    await client.close();
  });
});

describe("a start with TLS", function () {
  this.timeout(30_000);
  const servers = serversOfTest();

  it("is refused with the setting and the file when a file is wrong", async () => {
    const files = new Files(servers);
    const { cert, key } = files.issue("server");
    const other = files.issue("other");
    const noPem = files.write("words.txt", "no certificate");
    const unreadable = files.write("secret.key", "x");
    chmodSync(unreadable, 0);
    const missing = join(files.directory, "missing.crt");
    const cases: [ServerSettings, string][] = [
      [{ "tls-cert": cert }, "tls-cert and tls-key go together: set tls-key too"],
      [{ "tls-cert": cert, "tls-key": other.key }, `tls-key: ${other.key} is not the key of the certificate in ${cert}`],
      [{ "tls-cert": missing, "tls-key": key }, `tls-cert: there is no file ${missing}`],
      [{ "tls-cert": noPem, "tls-key": key }, `tls-cert: ${noPem} holds no certificate in PEM`],
      [{ "tls-cert": cert, "tls-key": files.directory }, `tls-key: cannot read ${files.directory}`],
      [{ "tls-cert": cert, "tls-key": key, "tls-ca": noPem }, `tls-ca: ${noPem} holds no certificate in PEM`],
    ];
    // Root may read everything.
    if (process.getuid?.() !== 0) cases.push([{ "tls-cert": cert, "tls-key": unreadable }, "tls-key: cannot open"]);
    const data = join(files.directory, "data");
    for (const [settings, text] of cases) {
      const flags = Object.entries({ port: "0", dir: data, ...settings }).flatMap(([name, value]) => [`--${name}`, value]);
      const { code, stderr } = await runKindred(["server", ...flags]);
      expect([code, stderr.startsWith(`kindred: ${text}`)], stderr).to.deep.equal([2, true]);
      expect(stderr.trim().split("\n"), stderr).to.have.lengthOf(1);
    }
  });

  it("warns of a certificate that has expired or soon will", async () => {
    const files = new Files(servers);
    const from = new Date(Date.now() - 10 * DAY_MS);
    const expired = files.settings({ validFrom: from, validTo: new Date(Date.now() - DAY_MS) });
    const first = await servers.start({ settings: expired });
    expect(first.log.map(({ msg }) => msg)).to.include(
      "the certificate in tls-cert has expired: who verifies it refuses this node",
    );
    await first.terminate();
    const ending = files.settings({ validFrom: from, validTo: new Date(Date.now() + 3.5 * DAY_MS) });
    const second = await servers.start({ settings: ending });
    expect(second.log.map(({ msg }) => msg)).to.include("the certificate in tls-cert expires in 3 days");
  });
});
