/** What runs a node elsewhere, under scripts: the Kubernetes manifests and their image, the systemd unit. That they hold together, and pass only what this version takes. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { AUTOSCALE_NAMES } from "../../lib/cli/autoscale-options.js";
import { allSettings, buildConfig, flagSource } from "../../lib/config.js";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const FOLDER = `${ROOT}scripts/kubernetes/`;
const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")) as { version: string };
// It comes with mocha, which reads its own settings by it, and has no types.
const yaml = createRequire(import.meta.url)("js-yaml") as { loadAll(text: string): unknown[] };

/** What tests look at of resources, whichever has it. */
interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly rules: readonly { readonly resourceNames: readonly string[] }[];
  readonly spec: {
    readonly serviceName: string;
    readonly selector: { readonly matchLabels?: object };
    readonly scaleTargetRef: { readonly name: string };
    readonly minReplicas: number;
    readonly template: {
      readonly metadata: { readonly labels: object };
      readonly spec: {
        readonly serviceAccountName: string;
        readonly securityContext: object;
        readonly containers: readonly {
          readonly image: string;
          readonly command: readonly string[];
          readonly args: string[];
          readonly env: readonly { readonly name: string }[];
        }[];
      };
    };
  };
}

function resources(file: string): Resource[] {
  return yaml.loadAll(readFileSync(`${FOLDER}${file}`, "utf8")) as Resource[];
}

function of(kind: string, file = "kindred.yaml"): Resource {
  const found = resources(file).find((each) => each.kind === kind);
  if (found === undefined) throw new Error(`${file} has no ${kind}`);
  return found;
}

/** Settings by name out of `--name=value`. */
function flagsOf(args: readonly string[]): Map<string, string> {
  return new Map(
    args.flatMap((word) => {
      const [, name, value] = /^--([\w-]+)(?:=(.*))?$/.exec(word) ?? [];
      return name === undefined ? [] : [[name, value ?? "yes"] as const];
    }),
  );
}

describe("the Kubernetes manifests", () => {
  it("name their resources, and have what they refer to", () => {
    const all = readdirSync(FOLDER)
      .filter((name) => name.endsWith(".yaml"))
      .flatMap(resources);
    for (const each of all) expect(each).to.have.nested.property("metadata.name").that.is.a("string");
    const set = of("StatefulSet");
    const names = all.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    expect(names).to.include(`Service ${set.spec.serviceName}`);
    expect(names).to.include(`ServiceAccount ${set.spec.template.spec.serviceAccountName}`);
    expect(set.spec.template.metadata.labels).to.deep.equal(set.spec.selector.matchLabels);
    for (const { spec, kind } of all) {
      if (kind === "Service") expect(spec.selector).to.deep.equal(set.spec.selector.matchLabels);
      if (kind === "HorizontalPodAutoscaler") expect(spec.scaleTargetRef.name).to.equal(set.metadata.name);
      if (kind === "HorizontalPodAutoscaler") expect(spec.minReplicas).to.be.at.least(3);
    }
    expect(of("Role").rules[0]!.resourceNames).to.deep.equal([set.metadata.name]);
  });

  it("pass settings that there are, with values that are taken", () => {
    const [container] = of("StatefulSet").spec.template.spec.containers;
    const variables = new Map<string, string>(container!.env.map(({ name }) => [name, "10.0.0.1"]));
    const given = container!.args.map((word) => word.replace(/\$\((\w+)\)/g, (_, name: string) => variables.get(name) ?? ""));
    const config = buildConfig([flagSource(flagsOf(given))]);
    expect(config.rejoin).to.equal(true);
    expect(config.seeds.length).to.equal(3);
    expect(config.announceIp).to.equal("10.0.0.1");
    const names = allSettings().map(({ name }) => `KINDRED_${name.toUpperCase().replaceAll("-", "_")}`);
    for (const name of variables.keys()) if (name.startsWith("KINDRED_")) expect(names).to.include(name);
    // Seeds are pods of the set, at the peers' port.
    const set = of("StatefulSet");
    for (const [at, { host, port }] of config.seeds.entries()) {
      expect(host).to.equal(`${set.metadata.name}-${at}.${set.spec.serviceName}`);
      expect(port).to.equal(Number(flagsOf(given).get("peer-port")));
    }
  });

  it("run the image that the Dockerfile builds, in its folders and as its user", () => {
    const dockerfile = readFileSync(`${FOLDER}Dockerfile`, "utf8");
    const [container] = of("StatefulSet").spec.template.spec.containers;
    const [, program] = container!.command;
    const [, entry] = /^ENTRYPOINT (.*)$/m.exec(dockerfile)!;
    expect(JSON.parse(entry!)).to.deep.equal(["node", program]);
    const copied = [...dockerfile.matchAll(/^COPY --from=build (.*) \S+$/gm)].flatMap(([, paths]) => paths!.split(" "));
    expect(copied.map((path) => path.replace("/opt/kindred/", ""))).to.include.members(["dist/lib", "scripts/kubernetes"]);
    for (const path of copied) expect(existsSync(path.replace("/opt/kindred/", ROOT)), path).to.equal(true);
    const [, command] = /^CMD (.*)$/m.exec(dockerfile)!;
    const [verb, ...args] = JSON.parse(command!) as string[];
    expect(verb).to.equal("server");
    const flags = new Map([0, 2].map((at) => [args[at]!.slice(2), args[at + 1]!] as const));
    expect(buildConfig([flagSource(flags)])).to.include({ bind: "0.0.0.0", dir: "/data/kindred" });
    const labels = [...dockerfile.matchAll(/-t (\S+) \./g)].map(([, label]) => label);
    expect(labels).to.deep.equal([container!.image]);
    expect(container!.image).to.equal(`kindred:${version}`);
    expect(of("StatefulSet").spec.template.spec.securityContext).to.include({ runAsUser: 1000, fsGroup: 1000 });
  });

  it("run the autoscaler with options that it has, and the command that scales the set", () => {
    const [container] = of("Deployment", "autoscaler.yaml").spec.template.spec.containers;
    const words = container!.args;
    const end = words.indexOf("--");
    for (const name of flagsOf(words.slice(0, end)).keys()) expect(AUTOSCALE_NAMES).to.include(name);
    expect(words.slice(end + 1)).to.deep.equal([
      "kubectl",
      "scale",
      "statefulset",
      of("StatefulSet").metadata.name,
      "--replicas",
    ]);
  });

  it("have a pod leave only where it is not to come back", async () => {
    const { isScaledDown } = (await import(`${FOLDER}leave-if-scaled-down.mjs`)) as {
      isScaledDown: (podName: string, replicas: unknown) => boolean;
    };
    expect([2, 3, 4, 5].map((replicas) => isScaledDown("kindred-3", replicas))).to.deep.equal([true, true, false, false]);
    expect(isScaledDown("kindred-10", 9)).to.equal(true);
    expect(() => isScaledDown("kindred", 3)).to.throw("no pod of a StatefulSet");
    // Where it cannot be known, it must not leave.
    for (const replicas of [undefined, null, "3", -1]) expect(() => isScaledDown("kindred-3", replicas)).to.throw("no number");
  });
});

describe("the systemd unit", () => {
  const unit = readFileSync(`${ROOT}scripts/systemd/kindred.service`, "utf8");

  it("passes settings that there are, with values that are taken, and keeps the data where it may write", () => {
    const [, line] = /^ExecStart=(.*)$/m.exec(unit)!;
    const [, program, verb, ...args] = line!.split(" ");
    expect(existsSync(program!.replace("/opt/kindred/", ROOT))).to.equal(true);
    expect(verb).to.equal("server");
    const flags = flagsOf(args);
    expect(flags.get("config")).to.match(/^\/etc\/kindred\//);
    flags.delete("config");
    const { dir } = buildConfig([flagSource(flags)]);
    const [, state] = /^StateDirectory=(.*)$/m.exec(unit)!;
    expect(dir.startsWith(`/var/lib/${state}/`)).to.equal(true);
  });
});
