import { expect } from "chai";
import { buildConfig, type Config, flagSource } from "../../lib/config.js";
import { LiveConfig } from "../../lib/node/live-config.js";

function live(flags: Record<string, string> = {}): LiveConfig {
  return new LiveConfig(buildConfig([flagSource(new Map(Object.entries(flags)))]));
}

/** The reason for which the value is refused; null where it is taken. */
function reason(name: string, value: string): string | null {
  const refusal = live().set([{ name, value }]);
  return refusal?.kind === "refused" ? refusal.reason : null;
}

describe("the live configuration", () => {
  it("takes a setting that only the start can change when it stays as it is", () => {
    const config = live({ bind: "127.0.0.1" });
    expect(config.set([{ name: "bind", value: "127.0.0.1" }])).to.equal(null);
    expect(config.set([{ name: "bind", value: "0.0.0.0" }])).to.deep.equal({
      kind: "refused",
      name: "bind",
      reason: "can't set immutable config",
    });
  });

  it("keeps views up to date", () => {
    const config = live({ timeout: "7" });
    const view = config.view(({ timeout, maxclients }) => ({ timeoutMs: 1_000 * timeout, maxclients }));
    expect(view).to.deep.equal({ timeoutMs: 7_000, maxclients: 10_000 });
    config.set([
      { name: "timeout", value: "9" },
      { name: "maxclients", value: "20" },
    ]);
    expect(view).to.deep.equal({ timeoutMs: 9_000, maxclients: 20 });
    config.set([
      { name: "timeout", value: "11" },
      { name: "maxclients", value: "x" },
    ]);
    expect(view, "nothing of a call that is refused").to.deep.equal({ timeoutMs: 9_000, maxclients: 20 });
  });

  it("takes back every value that it answers", () => {
    const config = live();
    const all = { matches: () => true } as unknown as Parameters<LiveConfig["list"]>[0];
    for (const setting of config.list(all)) expect(config.set([setting]), setting.name).to.equal(null);
  });

  it("refuses values in Redis's words", () => {
    expect(reason("timeout", "x")).to.equal("argument couldn't be parsed into an integer");
    expect(reason("timeout", "-1")).to.equal("argument must be between 0 and 31536000 inclusive");
    expect(reason("max-pair-bytes", "10mbs")).to.equal("argument must be a memory value");
    expect(reason("max-pair-bytes", "1")).to.equal("argument must be between 1024 and 536870912 inclusive");
    expect(reason("protected-mode", "x")).to.equal("argument must be 'yes' or 'no'");
    expect(reason("appendfsync", "x")).to.equal("argument(s) must be one of the following: always, everysec, no");
  });

  it("refuses output limits in Redis's words", () => {
    const name = "client-output-buffer-limit";
    expect(reason(name, "wrong number")).to.equal("Wrong number of arguments in buffer limit configuration.");
    expect(reason(name, "master 1 1 1")).to.equal("Invalid client class specified in buffer limit configuration.");
    const bad = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    for (const limits of ["normal 1mbs 1 1", "replica 1 1mbs 1", "pubsub 1 1 1s"]) expect(reason(name, limits)).to.equal(bad);
  });

  it("changes nothing and tells nobody when one of several changes is refused", () => {
    const config = live();
    const heard: Config[] = [];
    config.onChange("timeout", (values) => heard.push(values));
    expect(
      config.set([
        { name: "timeout", value: "7" },
        { name: "maxclients", value: "0" },
      ]),
    ).to.include({ kind: "refused", name: "maxclients" });
    expect(config.get("timeout")).to.equal("0");
    expect(heard).to.deep.equal([]);
    expect(config.set([{ name: "timeout", value: "7" }])).to.equal(null);
    expect(heard.map(({ timeout }) => timeout)).to.deep.equal([7]);
  });
});
