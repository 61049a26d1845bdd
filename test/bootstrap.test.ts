/** scripts/bootstrap.mjs, run for real in a small project: see stub-project.ts. */

import { existsSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { StubProject } from "./stub-project.js";

describe("the bootstrap of a fresh clone", function () {
  this.timeout(60_000);
  let project: StubProject;

  beforeEach(() => {
    project = new StubProject();
  });
  afterEach(() => {
    project.destroy();
  });

  it("installs, compiles and starts in a path with a space under NODE_ENV=production, and passes arguments through npm", async () => {
    const { code, stdout, stderr } = await project.npm(["start", "--", "--port", "7000", "a b"], { NODE_ENV: "production" })
      .finished;
    expect(stdout).to.contain('main ["server","--port","7000","a b"]');
    expect(stderr).to.contain("Installing packages").and.contain("Compiling");
    expect(code).to.equal(0);
  });

  it("makes three first starts at once install and compile once, and all three start", async () => {
    const runs = [1, 2, 3].map(() => project.bootstrap(["start"]).finished);
    const finished = await Promise.all(runs);
    for (const { code, stdout } of finished) expect({ code, stdout }).to.deep.equal({ code: 0, stdout: 'main ["server"]\n' });
    expect(finished.filter(({ stderr }) => stderr.includes("Installing packages"))).to.have.length(1);
    expect(project.compilations).to.equal(1);
  });

  it("ends a test run with its counts, and with an exit code that tells of a failure", async () => {
    const passing = await project.npm(["test"]).finished;
    expect(passing.stdout.trimEnd().split("\n").at(-1)).to.equal("3 passed, 0 failed, 1 skipped");
    expect(passing.code).to.equal(0);
    const failing = await project.npm(["test"], { STUB_FAILS: "yes" }).finished;
    expect(failing.stdout.trimEnd().split("\n").at(-1)).to.equal("2 passed, 1 failed, 1 skipped");
    expect(failing.code).to.not.equal(0);
  });
});

describe("the bootstrap of an installed tree", function () {
  this.timeout(60_000);
  let project: StubProject;

  before(async () => {
    project = new StubProject();
    expect((await project.bootstrap(["build"]).finished).code).to.equal(0);
  });
  after(() => {
    project.destroy();
  });

  it("does nothing again that is up to date", async () => {
    const before = project.compilations;
    const { stdout, stderr } = await project.bootstrap(["start"]).finished;
    expect({ stdout, stderr }).to.deep.equal({ stdout: 'main ["server"]\n', stderr: "" });
    expect(project.compilations).to.equal(before);
  });

  it("is the command of package.json, too, which may be run before anything was built", async () => {
    const { stdout } = await project.bootstrap(["run", "status", "--port", "7"]).finished;
    expect(stdout).to.equal('main ["status","--port","7"]\n');
    const root = join(import.meta.dirname, "..", "..");
    const { bin } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { bin: { kindred: string } };
    expect(statSync(join(root, bin.kindred)).mode & 0o111, `${bin.kindred} is executable`).to.equal(0o111);
    expect(bin.kindred.startsWith("dist/"), "npx links what is there when it first looks").to.equal(false);
  });

  it("compiles again when a source changed, and installs again when the lockfile did", async () => {
    project.write("lib/extra.ts", "export const extra = 1;\n");
    const changed = await project.bootstrap(["build"]).finished;
    expect(changed.stderr).to.contain("Compiling").and.not.contain("Installing");
    const lockfile = join(project.folder, "package-lock.json");
    project.write("package-lock.json", `${readFileSync(lockfile, "utf8")}\n`);
    const relocked = await project.bootstrap(["build"]).finished;
    expect(relocked.stderr).to.contain("Installing");
  });

  it("removes the outputs of removed sources", async () => {
    project.write("lib/removed.ts", "export const removed = 1;\n");
    await project.bootstrap(["build"]).finished;
    const output = join(project.folder, "dist", "lib", "removed.js");
    expect(existsSync(output)).to.equal(true);
    project.remove("lib/removed.ts");
    await project.bootstrap(["build"]).finished;
    expect(existsSync(output)).to.equal(false);
    expect(existsSync(join(project.folder, "dist", "lib", "main.js"))).to.equal(true);
  });

  it("compiles again what was removed from dist", async () => {
    project.remove("dist/lib/main.js");
    expect((await project.bootstrap(["start"]).finished).stdout).to.equal('main ["server"]\n');
  });

  it("refuses to start what does not compile, and again at the next start", async () => {
    project.write("lib/broken.ts", "export const broken: number = 'text';\n");
    for (const _ of [1, 2]) {
      const { code, stdout, stderr } = await project.bootstrap(["start"]).finished;
      expect(stdout).to.equal("");
      expect(stderr).to.contain("TS2322").and.contain("do not compile");
      expect(code).to.equal(1);
    }
    project.remove("lib/broken.ts");
    expect((await project.bootstrap(["build"]).finished).code).to.equal(0);
  });

  it("passes arguments to the test runner", async () => {
    const { stdout } = await project.npm(["test", "--", "--grep", "passes too"]).finished;
    expect(stdout.trimEnd().split("\n").at(-1)).to.equal("1 passed, 0 failed");
  });

  it("runs the one test file that is named by its source", async () => {
    project.write("test/two.test.ts", `declare const it: any; it("stands alone", () => undefined);\n`);
    const { stdout } = await project.bootstrap(["test", "test/two.test.ts"]).finished;
    expect(stdout.trimEnd().split("\n").at(-1)).to.equal("1 passed, 0 failed");
    project.remove("test/two.test.ts");
  });

  it("says so when the test runner ends without a result", async () => {
    project.write("test/two.test.ts", "declare const process: any; process.exit(0);\n");
    const { code, stderr } = await project.bootstrap(["test"]).finished;
    expect(stderr).to.contain("before it had a result");
    expect(code).to.equal(1);
    project.remove("test/two.test.ts");
  });

  it("runs the tests that wait for processes beside the others, and counts both", async () => {
    const beside = "test/e2e/beside.test.ts";
    project.write(beside, `declare const it: any; it("stands beside", () => undefined);\n`);
    const passing = await project.bootstrap(["test"]).finished;
    expect(passing.stdout).to.contain("stands beside");
    expect(passing.stdout.trimEnd().split("\n").at(-1)).to.equal("4 passed, 0 failed, 1 skipped");
    expect(passing.code).to.equal(0);
    project.write(beside, `declare const it: any; it("fails beside", () => { throw new Error("as it is to"); });\n`);
    const failing = await project.bootstrap(["test"]).finished;
    expect(failing.stdout).to.contain("as it is to");
    expect(failing.stdout.trimEnd().split("\n").at(-1)).to.equal("3 passed, 1 failed, 1 skipped");
    expect(failing.code).to.equal(1);
    project.write(beside, `declare const process: any; console.log("so far"); process.exit(0);\n`);
    const ended = await project.bootstrap(["test"]).finished;
    expect(ended.stderr).to.contain("before it had a result");
    expect(ended.stdout).to.contain("so far");
    expect(ended.code).to.equal(1);
    project.remove(beside);
  });

  it("exits with the program's own exit code", async () => {
    expect((await project.bootstrap(["start", "exit", "3"]).finished).code).to.equal(3);
    const crashed = await project.bootstrap(["start", "crash"]).finished;
    expect(crashed.stderr).to.contain("main crashed");
    expect(crashed.code).to.equal(1);
  });

  it("lets SIGTERM reach the program, which is this very process", async () => {
    const graceful = project.bootstrap(["start", "serve", "gracefully"]);
    await graceful.said("serving");
    graceful.kill("SIGTERM");
    expect((await graceful.finished).code).to.equal(7);
    const plain = project.bootstrap(["start", "serve"]);
    await plain.said("serving");
    plain.kill("SIGTERM");
    expect((await plain.finished).signal).to.equal("SIGTERM");
  });

  it("waits for a lock whose owner lives, and says for whom", async () => {
    const stat = readFileSync("/proc/self/stat", "utf8");
    const startTime = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    project.write("dist/.bootstrap-lock", `${process.pid} ${startTime} word\n`);
    project.write("lib/extra.ts", "export const extra = 2;\n");
    const run = project.bootstrap(["start"]);
    await run.said(`Waiting for process ${process.pid}`);
    project.remove("dist/.bootstrap-lock");
    expect((await run.finished).stdout).to.equal('main ["server"]\n');
  });

  it("takes over a lock whose owner is dead, or whose process id was given to another", async () => {
    for (const owner of ["999999999 1", `${process.pid} 1`]) {
      project.write("dist/.bootstrap-lock", `${owner} word\n`);
      project.write("lib/extra.ts", `export const extra = "${owner}";\n`);
      const { stdout, stderr } = await project.bootstrap(["start"]).finished;
      expect(stdout).to.equal('main ["server"]\n');
      expect(stderr).to.not.contain("Waiting");
    }
    expect(existsSync(join(project.folder, "dist", ".bootstrap-lock"))).to.equal(false);
  });

  it("tells the version found and needed when Node is too old", async () => {
    project.write(
      "old-node.cjs",
      `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.18.3" } });`,
    );
    const { code, stderr } = await project.bootstrap(["start"], { node: ["--require", join(project.folder, "old-node.cjs")] })
      .finished;
    expect(stderr).to.contain("needs Node.js 20.19 or newer").and.contain("20.18.3");
    expect(code).to.equal(1);
  });

  it("refuses an unknown verb with the ones it knows", async () => {
    const { code, stderr } = await project.bootstrap(["serve"]).finished;
    expect(stderr).to.contain("start|run|build|check|test|bench|simulate");
    expect(code).to.equal(1);
  });

  it("leaves a linked node_modules to whoever linked it", async () => {
    const linked = new StubProject();
    try {
      symlinkSync(join(project.folder, "node_modules"), join(linked.folder, "node_modules"));
      const { stdout, stderr } = await linked.bootstrap(["start"]).finished;
      expect(stdout).to.equal('main ["server"]\n');
      expect(stderr).to.not.contain("Installing");
    } finally {
      linked.destroy();
    }
  });
});
