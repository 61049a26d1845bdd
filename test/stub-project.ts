/**
 * A small project for the tests of scripts/bootstrap.mjs: the real bootstrap and test reporter, a lockfile that `npm ci`
 * installs without a network, and sources of a few lines. Its compiler and test runner are packages in its own folder that
 * hand over to ours; the compiler also counts its runs.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** How long any one run may take before the test that waits for it fails. */
const RUN_MS_MAX = 60_000;

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class StubProject {
  readonly folder: string;
  readonly #parent: string;

  /** In a path with a space, as a home directory may have. */
  constructor() {
    this.#parent = mkdtempSync(join(tmpdir(), "kindred bootstrap "));
    this.folder = join(this.#parent, "a project");
    for (const [path, text] of Object.entries(files())) this.write(path, text);
    for (const script of ["bootstrap.mjs", "test-reporter.mjs"]) {
      copyFileSync(join(root, "scripts", script), join(this.folder, "scripts", script));
    }
  }

  write(path: string, text: string): void {
    const file = join(this.folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  remove(path: string): void {
    rmSync(join(this.folder, path), { recursive: true });
  }

  /** How often its compiler ran. */
  get compilations(): number {
    return readFileSync(join(this.folder, "compilations"), "utf8").length;
  }

  /** `npm <args>`, as a user types it. */
  npm(args: readonly string[], env: NodeJS.ProcessEnv = {}): Run {
    const own = process.env.npm_execpath;
    return own?.endsWith(".js") ? this.#spawn(process.execPath, [own, ...args], env) : this.#spawn("npm", args, env);
  }

  /** `node [...options] scripts/bootstrap.mjs <args>`. */
  bootstrap(
    args: readonly string[],
    options: { readonly node?: readonly string[]; readonly env?: NodeJS.ProcessEnv } = {},
  ): Run {
    const script = join(this.folder, "scripts", "bootstrap.mjs");
    return this.#spawn(process.execPath, [...(options.node ?? []), script, ...args], options.env ?? {});
  }

  destroy(): void {
    rmSync(this.#parent, { recursive: true, force: true });
  }

  #spawn(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Run {
    return new Run(
      spawn(command, args, { cwd: this.folder, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] }),
    );
  }
}

/** A process whose output is collected. */
export class Run {
  readonly #child: ChildProcess;
  readonly #finished: Promise<Finished>;
  #stdout = "";
  #stderr = "";

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    this.#finished = this.#finish();
  }

  get finished(): Promise<Finished> {
    return this.#finished;
  }

  /** Resolves when the output contains `text`; rejects when the process ends without having said it. */
  async said(text: string): Promise<void> {
    const hasSaid = () => `${this.#stdout}${this.#stderr}`.includes(text);
    const ended = this.#finished.then(() => "ended");
    while (!hasSaid()) {
      const heard = Promise.race([
        once(this.#child.stdout as NodeJS.ReadableStream, "data"),
        once(this.#child.stderr as NodeJS.ReadableStream, "data"),
      ]);
      if ((await Promise.race([heard, ended])) !== "ended") continue;
      if (!hasSaid()) throw new Error(`ended without saying "${text}":\n${this.#stdout}${this.#stderr}`);
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async #finish(): Promise<Finished> {
    const deadline = setTimeout(() => this.#child.kill("SIGKILL"), RUN_MS_MAX);
    const [code, signal] = (await once(this.#child, "close")) as [number | null, NodeJS.Signals | null];
    clearTimeout(deadline);
    return { code, signal, stdout: this.#stdout, stderr: this.#stderr };
  }
}

function files(): Record<string, string> {
  const scripts = { start: "node scripts/bootstrap.mjs start", test: "node scripts/bootstrap.mjs test" };
  const vendored = { typescript: "vendor/typescript", mocha: "vendor/mocha", "@biomejs/biome": "vendor/biome" };
  const devDependencies = Object.fromEntries(Object.entries(vendored).map(([name, folder]) => [name, `file:${folder}`]));
  const manifest = { name: "stub", version: "1.0.0", private: true, type: "module", scripts, devDependencies };
  return {
    "package.json": JSON.stringify(manifest),
    "package-lock.json": lockfile(vendored, devDependencies),
    "tsconfig.json": JSON.stringify({
      compilerOptions: {
        target: "es2023",
        module: "nodenext",
        types: [],
        rootDir: ".",
        outDir: "dist",
        incremental: true,
        tsBuildInfoFile: "dist/tsconfig.tsbuildinfo",
      },
      include: ["lib/**/*.ts", "test/**/*.ts", "scripts/**/*.ts"],
    }),
    "vendor/typescript/package.json": packageOf("typescript"),
    "vendor/typescript/bin/tsc": `import { appendFileSync } from "node:fs";
      appendFileSync("compilations", "x");
      await import(${urlOf("typescript/bin/tsc")});`,
    "vendor/mocha/package.json": packageOf("mocha"),
    "vendor/mocha/index.js": `export * from ${urlOf("mocha/index.js")}; export { default } from ${urlOf("mocha/index.js")};`,
    "vendor/mocha/bin/mocha.js": `await import(${urlOf("mocha/bin/mocha.js")});`,
    "vendor/biome/package.json": packageOf("@biomejs/biome"),
    "vendor/biome/bin/biome": "",
    "scripts/check-imports.ts": "export {};\n",
    "lib/main.ts": `declare const process: any, console: any, setInterval: any;
      const [, , ...args] = process.argv;
      console.log("main " + JSON.stringify(args));
      if (args[1] === "exit") process.exitCode = Number(args[2]);
      if (args[1] === "crash") throw new Error("main crashed");
      if (args[1] === "serve") {
        setInterval(() => undefined, 1000);
        if (args[2] === "gracefully") process.on("SIGTERM", () => process.exit(7));
        console.log("serving as " + process.pid);
      }`,
    "test/one.test.ts": `declare const describe: any, it: any, process: any;
      describe("the stub", () => {
        it("passes", () => undefined);
        it("passes too", () => undefined);
        it.skip("is skipped", () => undefined);
        it("fails on request", () => { if (process.env.STUB_FAILS) throw new Error("as asked"); });
      });`,
  };
}

function lockfile(vendored: Record<string, string>, devDependencies: Record<string, string>): string {
  const packages: Record<string, object> = { "": { name: "stub", version: "1.0.0", devDependencies } };
  for (const [name, folder] of Object.entries(vendored)) {
    packages[`node_modules/${name}`] = { resolved: folder, link: true };
    packages[folder] = { name, version: "1.0.0", dev: true };
  }
  return JSON.stringify({ name: "stub", version: "1.0.0", lockfileVersion: 3, requires: true, packages });
}

function packageOf(name: string): string {
  return JSON.stringify({ name, version: "1.0.0", type: "module", exports: { ".": "./index.js" } });
}

/** A module of our own node_modules as a quoted URL. */
function urlOf(path: string): string {
  return JSON.stringify(new URL(`../../node_modules/${path}`, import.meta.url).href);
}
