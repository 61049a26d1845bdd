import { expect } from "chai";
import { type ClusterRequest, commandLine, leftOut, memberName, planMembers } from "../../lib/cli/cluster-plan.js";
import { OperatingError } from "../../lib/errors.js";

const KNOWN = new Set(["port", "dir", "name", "host", "peer-port", "seeds", "appendfsync"]);

function request(differences: Partial<ClusterRequest> = {}): ClusterRequest {
  return {
    nodes: 3,
    port: 7_000,
    peerPort: null,
    directory: "./cluster",
    bind: "127.0.0.1",
    settings: new Map(),
    configPath: null,
    existing: new Set(),
    known: KNOWN,
    ...differences,
  };
}

/** The flags of each member, as a map. */
function flagsOf(differences: Partial<ClusterRequest> = {}): ReadonlyMap<string, string>[] {
  return planMembers(request(differences)).map(({ args }) => {
    const words = args.filter((word) => word !== "server");
    return new Map(words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1]!] as const] : [])));
  });
}

function refusal(differences: Partial<ClusterRequest>): string {
  try {
    planMembers(request(differences));
  } catch (error) {
    if (error instanceof OperatingError && error.code === "CONFIG") return error.message;
    throw error;
  }
  throw new Error("it was planned");
}

describe("the plan of a local cluster", () => {
  it("gives each member a name, a host, ports and a directory of its own", () => {
    const seeds = "127.0.0.1:17000,127.0.0.1:17001,127.0.0.1:17002";
    expect(flagsOf().map((flags) => Object.fromEntries(flags))).to.deep.equal(
      ["node-a", "node-b", "node-c"].map((name, at) => ({
        "--port": `${7_000 + at}`,
        "--dir": `./cluster/${name}`,
        "--name": name,
        "--host": name,
        "--peer-port": `${17_000 + at}`,
        ...(at > 0 && { "--seeds": seeds }),
      })),
    );
    expect(planMembers(request()).map(({ isFounder }) => isFounder)).to.deep.equal([true, false, false]);
  });

  it("has nobody found a ring where there is one", () => {
    const all = request({ existing: new Set(["node-a", "node-b", "node-c"]) });
    expect(planMembers(all).some(({ isFounder }) => isFounder)).to.equal(false);
    expect(flagsOf(all).map((flags) => flags.has("--seeds"))).to.deep.equal([false, true, true]);
    // The first lost its directory: it joins the others as a newcomer.
    const others = flagsOf({ existing: new Set(["node-b", "node-c"]) });
    expect(others.map((flags) => flags.has("--seeds"))).to.deep.equal([true, true, true]);
    // A start that failed after the first member had founded goes on from there.
    const begun = flagsOf({ existing: new Set(["node-a"]) });
    expect(begun.map((flags) => flags.has("--seeds"))).to.deep.equal([false, true, true]);
  });

  it("passes settings and the file on to each, and leaves out settings that this version does not have", () => {
    const settings = new Map([["appendfsync", "always"]]);
    const [first, second] = flagsOf({ settings, configPath: "k.json", known: new Set(["port", "appendfsync"]) });
    expect(Object.fromEntries(first!)).to.deep.equal({ "--config": "k.json", "--port": "7000", "--appendfsync": "always" });
    expect(second!.get("--appendfsync")).to.equal("always");
  });

  it("names a reachable address to members that listen on all", () => {
    for (const bind of ["0.0.0.0", "::"]) expect(flagsOf({ bind })[1]!.get("--seeds")).to.match(/^127\.0\.0\.1:17000,/);
    expect(flagsOf({ bind: "10.0.0.7", peerPort: 9_000 })[1]!.get("--seeds")).to.match(/^10\.0\.0\.7:9000,/);
  });

  it("names the first 26 by letters and the others by numbers", () => {
    expect([0, 25, 26, 99].map(memberName)).to.deep.equal(["node-a", "node-z", "node-27", "node-100"]);
    expect(new Set(planMembers(request({ nodes: 100 })).map(({ name }) => name)).size).to.equal(100);
  });

  it("refuses too many members and ports that cannot be, with the ports", () => {
    expect(refusal({ nodes: 101 }))
      .to.include("1 to 100")
      .and.to.include("101");
    expect(refusal({ nodes: 0 })).to.include("1 to 100");
    expect(refusal({ port: 65_534 })).to.include("65534 to 65536");
    expect(refusal({ port: 55_534 }))
      .to.include("65534 to 65536")
      .and.to.include("10000 above --port");
    expect(refusal({ peerPort: 65_535 }))
      .to.include("65535 to 65537")
      .and.to.include("--peer-port");
    expect(refusal({ peerPort: 7_002 })).to.include("overlap");
    expect(planMembers(request({ port: 55_533 })).at(-1)).to.include({ port: 55_535, peerPort: 65_535 });
    expect(planMembers(request({ peerPort: 7_003 })).at(-1)).to.include({ port: 7_002, peerPort: 7_005 });
  });

  it("tells which members of an earlier, larger cluster it leaves out", () => {
    const names = ["node-a", "node-b", "node-d", "node-27", "other", "node-", "node-ab"];
    expect(leftOut(names, 2)).to.deep.equal(["node-27", "node-d"]);
    expect(leftOut(names, 27)).to.deep.equal([]);
  });
});

describe("a command line to copy", () => {
  it("quotes what a shell would take apart and hides secrets", () => {
    expect(commandLine(["server", "--dir", "my dir/it's", "--requirepass", "pw", "--port", "7000"])).to.equal(
      "npx kindred server --dir 'my dir/it'\\''s' --requirepass ... --port 7000",
    );
  });
});
