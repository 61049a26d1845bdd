import { expect } from "chai";
import { CommanderError } from "commander";
import type { AutoscaleOptions } from "../../lib/cli/autoscale-options.js";
import { type Actions, buildProgram } from "../../lib/cli/program.js";

/** What the command line made of its words: the action's name and what it was given. */
async function parse(line: string): Promise<readonly unknown[] | string> {
  const calls: unknown[][] = [];
  const record =
    (name: string) =>
    async (...given: unknown[]): Promise<void> => {
      calls.push([name, ...given]);
    };
  const actions: Actions = {
    server: record("server"),
    check: record("check"),
    inspect: () => undefined,
    cluster: record("cluster"),
    status: record("status"),
    ring: record("ring"),
    where: record("where"),
    repair: record("repair"),
    backup: record("backup"),
    restore: record("restore"),
    leave: record("leave"),
    remove: record("remove"),
    autoscale: record("autoscale"),
  };
  let errors = "";
  const output = { out: () => undefined, error: (text: string) => void (errors += text) };
  try {
    await buildProgram("1.2.3", actions, output).parseAsync(["node", "kindred", ...line.split(" ")]);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return errors;
  }
  return calls[0]!;
}

const QUESTION = { host: "127.0.0.1", port: 6_379, password: null, database: 0, tls: null, isJson: false };

describe("the command line", () => {
  it("cluster has defaults, and takes the settings of its members", async () => {
    const standard = { nodes: 3, port: 7_000, peerPort: null, directory: "./cluster", flags: new Map(), configPath: null };
    expect(await parse("cluster")).to.deep.equal(["cluster", standard]);
    const line = "cluster --nodes 5 --port 8000 --peer-port 9000 --dir d --config c.json --appendfsync always --bind ::1";
    expect(await parse(line)).to.deep.equal([
      "cluster",
      {
        nodes: 5,
        port: 8_000,
        peerPort: 9_000,
        directory: "d",
        flags: new Map([
          ["appendfsync", "always"],
          ["bind", "::1"],
        ]),
        configPath: "c.json",
      },
    ]);
  });

  for (const [line, ...says] of [
    ["cluster --nodes 0", "1 to 100"],
    ["cluster --nodes 101", "1 to 100", "101"],
    ["cluster --nodes many", "1 to 100", "many"],
    ["cluster --nodes 2.5", "1 to 100"],
    ["cluster --port 0", "1 to 65535"],
    ["cluster --port 65536", "1 to 65535"],
    ["cluster --name one", "--name"],
    ["cluster --appendfsink always", "--appendfsync"],
    ["status --port x", "1 to 65535"],
    ["status --db 1", "--db"],
    ["where", "key"],
    ["where a b", "too many arguments"],
    ["where a --db 16", "0 to 15"],
    ["repair --slot 16384", "0 to 16383"],
    ["wher a", "did you mean where?"],
    ["statu", "did you mean"],
  ] as const) {
    it(`refuses "${line}" and says why`, async () => {
      const errors = await parse(line);
      expect(errors).to.be.a("string");
      for (const text of says) expect(errors).to.include(text);
    });
  }

  it("status, ring and where take an address, a password and the form of the answer", async () => {
    expect(await parse("status")).to.deep.equal(["status", QUESTION]);
    const asked = { host: "10.0.0.1", port: 7_001, password: "pw", database: 0, tls: null, isJson: true };
    expect(await parse("ring --host-address 10.0.0.1 --port 7001 --password pw --json")).to.deep.equal(["ring", asked]);
    expect(await parse("where user:1 --db 3")).to.deep.equal(["where", "user:1", { ...QUESTION, database: 3 }]);
  });

  it("status, ring and where speak TLS where that is said, or whom to trust", async () => {
    const none = { caPath: null, certPath: null, keyPath: null };
    expect(await parse("status --tls")).to.deep.equal(["status", { ...QUESTION, tls: none }]);
    expect(await parse("ring --tls-ca ca.crt")).to.deep.equal(["ring", { ...QUESTION, tls: { ...none, caPath: "ca.crt" } }]);
    const shown = { caPath: null, certPath: "a.crt", keyPath: "a.key" };
    expect(await parse("where k --tls-cert a.crt --tls-key a.key")).to.deep.equal(["where", "k", { ...QUESTION, tls: shown }]);
  });

  it("autoscale has defaults, takes the settings of its members, and a command behind two dashes", async () => {
    const [name, standard] = (await parse("autoscale --appendfsync always --grow-after 7")) as [string, AutoscaleOptions];
    expect(name).to.equal("autoscale");
    expect(standard).to.include({ provider: "local", port: 7_000, directory: "./cluster", periodMs: 5_000 });
    expect(standard.flags).to.deep.equal(new Map([["appendfsync", "always"]]));
    expect(standard.scale.targets).to.deep.equal({ busy: 0.6, requests: null, disk: 0.7 });
    expect(standard.scale).to.include({ min: 3, max: 9, growAfterMs: 7_000, highMark: 1, lowMark: 0.7 });
    const line = "autoscale --provider exec --ask a:1,b:2 -- kubectl scale --replicas";
    const [, exec] = (await parse(line)) as [string, AutoscaleOptions];
    expect(exec).to.include({ provider: "exec", port: 6_379 });
    expect(exec.ask).to.deep.equal(["a:1", "b:2"]);
    expect(exec.command).to.deep.equal(["kubectl", "scale", "--replicas"]);
    expect(await parse("autoscale --replace node-c")).to.include("--replace");
  });

  it("leave and remove ask a node, and replace runs one", async () => {
    expect(await parse("leave --port 7001")).to.deep.equal(["leave", { ...QUESTION, port: 7_001, isForced: false }]);
    expect(await parse("leave --force")).to.deep.equal(["leave", { ...QUESTION, isForced: true }]);
    expect(await parse("remove node-c")).to.deep.equal(["remove", ["node-c"], { ...QUESTION, isForced: false }]);
    const several = ["remove", ["node-c", "node-d"], { ...QUESTION, isForced: true }];
    expect(await parse("remove node-c node-d --force")).to.deep.equal(several);
    const flags = new Map([
      ["port", "7003"],
      ["replace", "node-c"],
    ]);
    expect(await parse("replace node-c --port 7003")).to.deep.equal(["server", flags, null]);
    expect(await parse("remove")).to.include("member");
  });

  it("backup wants a directory, and restore says as what the store goes on", async () => {
    expect(await parse("backup --to backups/one")).to.deep.equal(["backup", "backups/one", QUESTION]);
    expect(await parse("backup")).to.include("required option '--to <directory>'");
    const plain = { directory: "data", as: "member", without: [], isJson: false };
    expect(await parse("restore one --dir data")).to.deep.equal(["restore", "one", plain]);
    expect(await parse("restore one --dir data --alone --json")).to.deep.equal([
      "restore",
      "one",
      { ...plain, as: "alone", isJson: true },
    ]);
    const all = { ...plain, as: "whole cluster", without: ["node-b", "node-c"] };
    expect(await parse("restore one --dir data --whole-cluster --without node-b --without node-c")).to.deep.equal([
      "restore",
      "one",
      all,
    ]);
    expect(await parse("restore one --dir data --whole-cluster --alone")).to.include("cannot be used with");
    expect(await parse("restore one")).to.include("required option '--dir <directory>'");
  });

  it("repair takes a slot, a member, and whether all is read", async () => {
    expect(await parse("repair")).to.deep.equal(["repair", { slot: null, peer: null, isFull: false }, QUESTION]);
    const what = { slot: 5, peer: "node-b", isFull: true };
    expect(await parse("repair --slot 5 --peer node-b --full --json")).to.deep.equal([
      "repair",
      what,
      { ...QUESTION, isJson: true },
    ]);
  });

  it("a key that looks like an option follows two dashes", async () => {
    expect(await parse("where -- --key")).to.deep.equal(["where", "--key", QUESTION]);
  });
});
