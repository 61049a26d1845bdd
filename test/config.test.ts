import { expect } from "chai";
import { allSettings, buildConfig, environmentSource, fileSource, flagSource, peerPortOf } from "../lib/config.js";
import { OperatingError } from "../lib/errors.js";

function flags(values: Record<string, string>): ReturnType<typeof flagSource> {
  return flagSource(new Map(Object.entries(values)));
}

function refusal(build: () => unknown): string {
  try {
    build();
  } catch (error) {
    if (error instanceof OperatingError && error.code === "CONFIG") return error.message;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

describe("config", () => {
  it("has a default for every setting that its own parser accepts", () => {
    const config = buildConfig([]);
    expect(config.port).to.equal(6_379);
    for (const setting of allSettings()) {
      expect(setting.parse(setting.format(setting.default)), setting.name).to.deep.equal(setting.default);
    }
  });

  it("prefers flags to the environment and the environment to the file", () => {
    const file = fileSource("kindred.json", '{"port": 1, "bind": "::1", "appendfsync": "no"}');
    const environment = environmentSource({ KINDRED_PORT: "2", KINDRED_BIND: "0.0.0.0", PATH: "/bin", KINDRED_CONFIG: "x" });
    const config = buildConfig([flags({ port: "3" }), environment, file]);
    expect(config).to.include({ port: 3, bind: "0.0.0.0", appendfsync: "no" });
  });

  it("reads sizes with Redis's units", () => {
    expect(buildConfig([flags({ "max-pair-bytes": "20kb" })]).maxPairBytes).to.equal(20_480);
    expect(buildConfig([flags({ "block-cache-bytes": "1GB" })]).blockCacheBytes).to.equal(2 ** 30);
    expect(buildConfig([flags({ "block-cache-bytes": "2000000" })]).blockCacheBytes).to.equal(2_000_000);
  });

  it("refuses an unknown name with the nearest valid one", () => {
    expect(refusal(() => buildConfig([flags({ "max-pair-byte": "1" })]))).to.contain("did you mean max-pair-bytes?");
    expect(refusal(() => buildConfig([environmentSource({ KINDRED_APENDFSYNC: "no" })]))).to.equal(
      "unknown setting KINDRED_APENDFSYNC (did you mean appendfsync?)",
    );
    expect(refusal(() => buildConfig([flags({ zzzzzz: "1" })]))).to.contain("kindred server --help");
  });

  it("refuses a value out of range with the range and where it stood", () => {
    expect(refusal(() => buildConfig([flags({ port: "65536" })]))).to.equal(
      "--port: must be a whole number from 0 to 65535, not '65536'",
    );
    expect(refusal(() => buildConfig([environmentSource({ KINDRED_APPENDFSYNC: "sometimes" })]))).to.contain(
      "KINDRED_APPENDFSYNC: must be one of always, everysec, no",
    );
    expect(refusal(() => buildConfig([flags({ "max-pair-bytes": "-1" })]))).to.contain("from 1024 to 536870912");
    expect(refusal(() => buildConfig([flags({ "protected-mode": "perhaps" })]))).to.contain("yes or no");
  });

  it("refuses a file that is not one JSON object", () => {
    expect(refusal(() => fileSource("k.json", "[1]"))).to.contain("one JSON object");
    expect(refusal(() => fileSource("k.json", "{"))).to.contain("k.json is not JSON");
    expect(refusal(() => fileSource("k.json", '{"port": [1]}'))).to.contain('"port" must be');
  });

  it("refuses half of TLS, which would be none", () => {
    const pair = { "tls-cert": "a.crt", "tls-key": "a.key" };
    expect(buildConfig([flags({ ...pair, "tls-ca": "ca.crt" })])).to.include({ tlsCert: "a.crt", tlsAuthClients: "no" });
    expect(buildConfig([flags({ ...pair, "tls-ca": "c", "tls-auth-clients": "yes" })]).tlsAuthClients).to.equal("yes");
    expect(refusal(() => buildConfig([flags({ "tls-cert": "a.crt" })]))).to.equal(
      "tls-cert and tls-key go together: set tls-key too, or neither for no TLS",
    );
    expect(refusal(() => buildConfig([flags({ "tls-key": "a.key" })]))).to.contain("set tls-cert too");
    expect(refusal(() => buildConfig([flags({ "tls-ca": "ca.crt" })]))).to.contain("tls-ca needs tls-cert and tls-key");
    expect(refusal(() => buildConfig([flags({ ...pair, "tls-auth-clients": "optional" })]))).to.contain(
      "tls-auth-clients optional needs tls-ca",
    );
  });

  it("takes settings of single databases and refuses what they cannot have", () => {
    const config = buildConfig([
      fileSource("k.json", '{"databases": {"1": {"consistency": "ONE"}, "2": {"conflicts": "error"}}}'),
    ]);
    expect(config.databases.get(1)).to.deep.equal({ consistency: "ONE" });
    expect(config.databases.get(2)).to.deep.equal({ conflicts: "error" });
    expect(refusal(() => buildConfig([flags({ databases: '{"16": {}}' })]))).to.contain("0 to 15");
    expect(refusal(() => buildConfig([flags({ databases: '{"1": {"port": "1"}}' })]))).to.contain("consistency or conflicts");
    expect(refusal(() => buildConfig([flags({ databases: '{"1": {"consistency": "TWO"}}' })]))).to.contain("must be one of");
  });

  it("puts the port for other members 10000 above that for clients, unless it is said", () => {
    const peerPort = (values: Record<string, string>): number => peerPortOf(buildConfig([flags(values)]));
    expect(peerPort({})).to.equal(16_379);
    expect(peerPort({ port: "7000" })).to.equal(17_000);
    expect(peerPort({ port: "0" })).to.equal(0);
    expect(peerPort({ port: "7000", "peer-port": "auto" })).to.equal(17_000);
    expect(peerPort({ port: "7000", "peer-port": "8000" })).to.equal(8_000);
    expect(peerPort({ port: "60000", "peer-port": "0" })).to.equal(0);
    expect(peerPort({ port: "55535" })).to.equal(65_535);
    expect(refusal(() => buildConfig([flags({ port: "55536" })])))
      .to.contain("--port 55536")
      .and.to.contain("set --peer-port");
    expect(refusal(() => buildConfig([flags({ "peer-port": "none" })]))).to.equal(
      "--peer-port: must be auto or a whole number from 0 to 65535, not 'none'",
    );
  });

  it("reads seeds as addresses, each once and in order", () => {
    const seeds = (text: string): unknown => buildConfig([flags({ seeds: text })]).seeds;
    expect(seeds("")).to.deep.equal([]);
    expect(seeds("b:2, a:1,b:2,[::1]:3")).to.deep.equal([
      { host: "b", port: 2 },
      { host: "a", port: 1 },
      { host: "::1", port: 3 },
    ]);
    const setting = allSettings().find(({ name }) => name === "seeds")!;
    expect(setting.format(setting.parse("b:2,[::1]:3"))).to.equal("b:2,[::1]:3");
    for (const text of ["a", "a:0", "a:65536", "a:1,,b:2", "::1:3", ":1", "a b:1", "a:1x"]) {
      expect(
        refusal(() => seeds(text)),
        text,
      ).to.contain("--seeds: must be host:port");
    }
  });

  it("takes no member to replace without seeds: it would found a ring of its own", () => {
    const text = "to replace node-c its cluster has to be found: give --seeds, host:peer-port of members that run";
    expect(refusal(() => buildConfig([flags({ replace: "node-c" })]))).to.equal(text);
    expect(buildConfig([flags({ replace: "node-c", seeds: "a:1" })]).replace).to.equal("node-c");
  });

  it("reads copies as one number, by data centre, or both", () => {
    const setting = allSettings().find(({ name }) => name === "replicas")!;
    expect(setting.parse("5")).to.deep.equal({ default: 5, dcs: [] });
    expect(setting.parse("dc2:2, dc1:3")).to.deep.equal({
      default: 3,
      dcs: [
        { dc: "dc1", replicas: 3 },
        { dc: "dc2", replicas: 2 },
      ],
    });
    for (const text of ["5", "dc1:3,dc2:2", "2,dc1:0"]) expect(setting.format(setting.parse(text))).to.equal(text);
    for (const text of ["", "0", "256", "3,4", "dc1", "dc1:", "dc1:-1", "dc1:1,dc1:2", "dc1:1:2", "a b:1"]) {
      expect(
        refusal(() => buildConfig([flags({ replicas: text })])),
        text,
      ).to.contain("--replicas: must be a number of copies");
    }
  });

  it("checks labels, weights and the address to announce", () => {
    const config = buildConfig([
      flags({ host: "box-1.lan", dc: "eu_west", rack: "2", weight: "0.25", "announce-ip": "10.0.0.7" }),
    ]);
    expect(config).to.include({ host: "box-1.lan", dc: "eu_west", rack: "2", weight: 0.25, announceIp: "10.0.0.7" });
    expect(buildConfig([])).to.include({ host: "", dc: "dc1", rack: "r1", weight: 1, vnodes: 64, clusterSecret: "" });
    expect(refusal(() => buildConfig([flags({ dc: "" })]))).to.contain("--dc: must be 1 to 63 letters");
    expect(refusal(() => buildConfig([flags({ rack: "a:b" })]))).to.contain("--rack: must be 1 to 63 letters");
    expect(refusal(() => buildConfig([flags({ name: "x".repeat(256) })]))).to.contain("at most 255 bytes");
    expect(refusal(() => buildConfig([flags({ "announce-ip": "10.0.0.1,10.0.0.2" })]))).to.contain("an IP address");
    for (const text of ["0", "0.001", "1000.01", "-1", "1e2", "heavy"]) {
      expect(
        refusal(() => buildConfig([flags({ weight: text })])),
        text,
      ).to.contain("--weight: must be a number from 0.01 to 1000");
    }
  });
});
