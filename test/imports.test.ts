/** The rules of the house hold over lib/, and each of them can fail: a rule that nothing breaks may be one that checks nothing. */

import { fileURLToPath } from "node:url";
import { expect } from "chai";
import { checkSource, type Rule } from "../scripts/import-rules.js";
import { readSources } from "../scripts/source-tree.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

function broken(path: string, text: string): Rule[] {
  return checkSource({ path, text }).map(({ rule }) => rule);
}

/** What breaks a rule, by file and text. */
const bad: readonly { readonly title: string; readonly path: string; readonly text: string; readonly rule: Rule }[] = [
  {
    title: "the engine imports the ring",
    path: "lib/lsm/lsm.ts",
    text: `import { Ring } from "../cluster/ring.js";`,
    rule: "import",
  },
  {
    title: "a type import counts",
    path: "lib/lsm/lsm.ts",
    text: `import type { Ring } from "../cluster/ring.js";`,
    rule: "import",
  },
  { title: "a re-export counts", path: "lib/lsm/lsm.ts", text: `export { Ring } from "../cluster/ring.js";`, rule: "import" },
  {
    title: "a dynamic import counts",
    path: "lib/lsm/lsm.ts",
    text: `const r = await import("../cluster/ring.js");`,
    rule: "import",
  },
  { title: "an import for its effects counts", path: "lib/lsm/lsm.ts", text: `import "../cluster/ring.js";`, rule: "import" },
  {
    title: "an import over lines counts",
    path: "lib/lsm/lsm.ts",
    text: `import {\n  A,\n} from "../cluster/ring.js";`,
    rule: "import",
  },
  {
    title: "the links import the ring",
    path: "lib/peer/peer.ts",
    text: `import { A } from "../cluster/ring.js";`,
    rule: "import",
  },
  {
    title: "the ring imports the replicas",
    path: "lib/cluster/ring.ts",
    text: `import { A } from "../replica/a.js";`,
    rule: "import",
  },
  {
    title: "replicas import the coordinator",
    path: "lib/replica/a.ts",
    text: `import { A } from "../coordinator/a.js";`,
    rule: "import",
  },
  {
    title: "the coordinator reaches the engine",
    path: "lib/coordinator/a.ts",
    text: `import { A } from "../lsm/lsm.js";`,
    rule: "import",
  },
  {
    title: "the front end imports the commands",
    path: "lib/resp/a.ts",
    text: `import { A } from "../commands/a.js";`,
    rule: "import",
  },
  {
    title: "commands import the parser",
    path: "lib/commands/a.ts",
    text: `import { A } from "../resp/gate.js";`,
    rule: "import",
  },
  {
    title: "causality imports the engine",
    path: "lib/causality/a.ts",
    text: `import { A } from "../lsm/lsm.js";`,
    rule: "import",
  },
  { title: "bytes import causality", path: "lib/bytes/a.ts", text: `import { A } from "../causality/a.js";`, rule: "import" },
  {
    title: "the command line imports the engine",
    path: "lib/cli/a.ts",
    text: `import { A } from "../lsm/lsm.js";`,
    rule: "import",
  },
  { title: "a folder imports config", path: "lib/lsm/a.ts", text: `import { A } from "../config.js";`, rule: "import" },
  {
    title: "the node builds on a real disk",
    path: "lib/node.ts",
    text: `import { A } from "./host/node-disk.js";`,
    rule: "import",
  },
  {
    title: "commands name a real clock",
    path: "lib/commands/a.ts",
    text: `import { A } from "../host/node-clock.js";`,
    rule: "import",
  },
  { title: "a leaf imports a folder", path: "lib/errors.ts", text: `import { A } from "./lsm/lsm.js";`, rule: "import" },
  { title: "lib imports a test", path: "lib/lsm/a.ts", text: `import { A } from "../../test/a.js";`, rule: "import" },
  {
    title: "a folder that the table does not know",
    path: "lib/utils/a.ts",
    text: `import { A } from "../bytes/a.js";`,
    rule: "import",
  },
  { title: "an unlisted package", path: "lib/lsm/a.ts", text: `import _ from "lodash";`, rule: "package" },
  {
    title: "a package that is to be loaded late",
    path: "lib/cli/a.ts",
    text: `import { Redis } from "ioredis";`,
    rule: "package",
  },
  { title: "a package in the wrong folder", path: "lib/resp/a.ts", text: `import { A } from "snappy";`, rule: "package" },
  { title: "the wall clock", path: "lib/lsm/a.ts", text: "const now = Date.now();", rule: "seam" },
  { title: "the wall clock as an object", path: "lib/lsm/a.ts", text: "const now = new Date();", rule: "seam" },
  { title: "the monotonic clock", path: "lib/lsm/a.ts", text: "const now = performance.now();", rule: "seam" },
  { title: "a timeout", path: "lib/lsm/a.ts", text: "setTimeout(run, 5);", rule: "seam" },
  { title: "an interval", path: "lib/lsm/a.ts", text: "setInterval(run, 5);", rule: "seam" },
  { title: "an immediate", path: "lib/lsm/a.ts", text: "setImmediate(run);", rule: "seam" },
  { title: "a timer through the global object", path: "lib/lsm/a.ts", text: "globalThis.setTimeout(run, 5);", rule: "seam" },
  { title: "unseeded randomness", path: "lib/lsm/a.ts", text: "const x = Math.random();", rule: "seam" },
  { title: "random bytes", path: "lib/lsm/a.ts", text: `import { randomBytes } from "node:crypto";`, rule: "seam" },
  { title: "random ids", path: "lib/lsm/a.ts", text: "crypto.randomUUID();", rule: "seam" },
  { title: "random bytes by another name", path: "lib/lsm/a.ts", text: "c.randomBytes(8);", rule: "seam" },
  { title: "code inside a template", path: "lib/lsm/a.ts", text: "const t = `at $" + "{Date.now()} ms`;", rule: "seam" },
  {
    title: "code after a regular expression",
    path: "lib/lsm/a.ts",
    text: `const r = /["'/]/.test(x) && Date.now();`,
    rule: "seam",
  },
  { title: "code after a division", path: "lib/lsm/a.ts", text: "const r = (a / b) * Math.random() / 2;", rule: "seam" },
  { title: "files", path: "lib/lsm/a.ts", text: `import { openSync } from "node:fs";`, rule: "seam" },
  { title: "files by promises", path: "lib/lsm/a.ts", text: `import { open } from "node:fs/promises";`, rule: "seam" },
  { title: "sockets", path: "lib/resp/a.ts", text: `import { connect } from "node:net";`, rule: "seam" },
  { title: "encrypted sockets", path: "lib/resp/a.ts", text: `import { connect } from "node:tls";`, rule: "seam" },
  { title: "threads", path: "lib/lsm/a.ts", text: `import { Worker } from "node:worker_threads";`, rule: "seam" },
  { title: "processes", path: "lib/cli/a.ts", text: `import { spawn } from "node:child_process";`, rule: "seam" },
  { title: "the process's environment", path: "lib/config.ts", text: "const home = process.env.HOME;", rule: "seam" },
  { title: "the process in the command line", path: "lib/cli/a.ts", text: "process.exit(1);", rule: "seam" },
  { title: "the process in a host implementation", path: "lib/host/node-disk.ts", text: "process.exit(1);", rule: "seam" },
  { title: "the process by import", path: "lib/config.ts", text: `import { env } from "node:process";`, rule: "seam" },
  { title: "the console", path: "lib/lsm/a.ts", text: `console.log("x");`, rule: "seam" },
  { title: "a default export", path: "lib/lsm/a.ts", text: "export default class A {}", rule: "default-export" },
  { title: "a default export by name", path: "lib/lsm/a.ts", text: "export { A as default };", rule: "default-export" },
  { title: "a file of 501 lines", path: "lib/lsm/a.ts", text: "\n".repeat(501), rule: "length" },
  { title: "a test of 501 lines", path: "test/a.test.ts", text: "\n".repeat(501), rule: "length" },
];

const good: readonly { readonly title: string; readonly path: string; readonly text: string }[] = [
  {
    title: "commands import the host's interfaces",
    path: "lib/commands/a.ts",
    text: `import type { C } from "../host/clock.js";`,
  },
  { title: "commands import a reply", path: "lib/commands/a.ts", text: `import { Reply } from "../resp/reply.js";` },
  { title: "a folder imports itself", path: "lib/lsm/a.ts", text: `import { B } from "./b.js";` },
  { title: "the worker builds a real disk", path: "lib/worker.ts", text: `import { D } from "./host/node-disk.js";` },
  { title: "main reads the process", path: "lib/main.ts", text: "start(process.argv, process.env);" },
  { title: "the command line prints", path: "lib/cli/a.ts", text: `console.log("x");` },
  { title: "the host reads the clock", path: "lib/host/node-clock.ts", text: "const now = Date.now();" },
  { title: "cryptography that is not random", path: "lib/lsm/a.ts", text: `import { createHash } from "node:crypto";` },
  {
    title: "a parameter is called like random bytes",
    path: "lib/lsm/a.ts",
    text: "const f = (randomBytes) => randomBytes(8);",
  },
  {
    title: "a comment names a timer",
    path: "lib/lsm/a.ts",
    text: "// setTimeout(run) is Date.now()'s friend\n/* Math.random() */",
  },
  {
    title: "a string names a clock",
    path: "lib/lsm/a.ts",
    text: `const s = "Date.now()" + 'it\\'s Date.now()' + \`Math.random()\`;`,
  },
  { title: "a regular expression names a clock", path: "lib/lsm/a.ts", text: "const r = /[/]Date.now()/;" },
  { title: "a string looks like an import", path: "lib/lsm/a.ts", text: `const s = 'from "../cluster/ring.js"';` },
  { title: "a method is called like a timer", path: "lib/lsm/a.ts", text: "this.setTimeout(5); clock.process.x();" },
  { title: "a file of 500 lines", path: "lib/lsm/a.ts", text: "\n".repeat(500) },
  { title: "tests may use the clock", path: "test/e2e/a.test.ts", text: "Date.now();" },
];

describe("the rules of the house", () => {
  it("hold over all sources", () => {
    const sources = readSources(root);
    expect(sources.filter(({ path }) => path.startsWith("lib/"))).to.not.be.empty;
    const violations = sources.flatMap(checkSource);
    expect(violations.map(({ path, line, message }) => `${path}:${line} ${message}`)).to.deep.equal([]);
  });

  for (const { title, path, text, rule } of bad) {
    it(`are broken when: ${title}`, () => expect(broken(path, text)).to.deep.equal([rule]));
  }

  for (const { title, path, text } of good) {
    it(`allow: ${title}`, () => expect(broken(path, text)).to.deep.equal([]));
  }

  it("name the line of a violation", () => {
    const [violation] = checkSource({ path: "lib/lsm/a.ts", text: "/* a\n b */\nconst x = 1;\nDate.now();\n" });
    expect(violation?.line).to.equal(4);
  });
});
