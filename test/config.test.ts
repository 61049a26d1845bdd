import { expect } from "chai";
import { allSettings, buildConfig, environmentSource, fileSource, flagSource } from "../lib/config.js";
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
});
