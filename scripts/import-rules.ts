/**
 * The rules of the house (docs/ARCHITECTURE.md): who may import whom, which side of a seam code is on, and what a module
 * looks like. Pure: text of a file in, violations out. The tables below are the rules; the code under them only applies
 * them. Sources are read by `maskSource`, which knows comments, strings and regular expressions but no grammar.
 */
import { maskSource } from "./mask-source.js";

/** Top-level modules that everybody may import. */
const LEAVES = ["assert", "errors", "background", "log"];

/**
 * What every module of lib/ may import besides the interfaces of the seams. An entry is a folder (`bytes/`) or a module
 * without its suffix (`resp/reply`).
 */
const COMMON = [...LEAVES, "bytes/"];

/** Host's implementations of its interfaces; what else lies in host/ is an interface. */
const HOST_IMPLEMENTATION = /^host\/node-/;

/** All of lib/ but host's implementations. */
const EVERYTHING = [
  "autoscale/",
  "causality/",
  "cli/",
  "cluster/",
  "commands/",
  "coordinator/",
  "lsm/",
  "peer/",
  "replica/",
  "resp/",
  "node/",
  "config",
];

/** What a folder or top-level module may import besides `COMMON` and itself. What is not listed may not exist. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "bytes/": [],
  "host/": [],
  "causality/": [],
  "lsm/": [],
  "peer/": [],
  "cluster/": ["peer/"],
  "replica/": ["lsm/", "cluster/", "peer/", "causality/"],
  "coordinator/": ["replica/", "cluster/", "causality/"],
  "resp/": [],
  // Of the front end: what a call is and what answers it, with the one place that turns errors into replies.
  "commands/": ["coordinator/", "cluster/", "causality/", "resp/call", "resp/reply", "resp/session", "resp/error-reply"],
  // Of the commands only the shape of what a node answers about its ring. It asks nodes by what cli/ hands in.
  "autoscale/": ["commands/cluster-view"],
  "cli/": [
    "config",
    "autoscale/",
    "commands/cluster-operations",
    "commands/cluster-view",
    "lsm/backup",
    "lsm/check",
    "lsm/inspect",
    "lsm/salvage",
    "lsm/directory-lock",
    "lsm/lsm-settings",
    "lsm/restore",
    "host/",
  ],
  assert: [],
  errors: [],
  background: [],
  log: [],
  "setting-kinds": [],
  "cluster-setting-kinds": ["setting-kinds"],
  "tls-settings": ["setting-kinds"],
  "copy-settings": ["setting-kinds"],
  config: ["setting-kinds", "cluster-setting-kinds", "copy-settings", "tls-settings"],
  // The composition root.
  "node/": EVERYTHING,
  // The compaction worker's entry: a thread of its own, so it builds its own Disk.
  worker: ["lsm/", "replica/", "host/"],
  main: [...EVERYTHING, "host/"],
};

/** Packages from the registry, and who may import them: a dependency is taken in one place. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "bloom-filters": ["lsm/"],
  commander: ["cli/", "main"],
  ioredis: ["cli/"],
  pino: ["main"],
  "pino-pretty": ["main"],
  "redis-parser": ["resp/"],
  snappy: ["lsm/"],
};

/** Packages that are loaded where they are used (`import type`, `await import()`), and why a server must not have them loaded. */
const LOADED_LATE: Readonly<Record<string, string>> = {
  ioredis: "it derives a class from String, after which V8 looks up the methods of all strings slowly",
};

/** Modules of Node that reach past a seam, and who may import them. Those not listed here are free: they only compute. */
const SEAM_MODULES: Readonly<Record<string, readonly string[]>> = {
  "node:fs": ["host/"],
  "node:fs/promises": ["host/"],
  "node:net": ["host/"],
  "node:tls": ["host/"],
  "node:dgram": ["host/"],
  "node:dns": ["host/"],
  "node:http": ["host/"],
  "node:https": ["host/"],
  "node:os": ["host/", "main"],
  "node:timers": ["host/"],
  "node:timers/promises": ["host/"],
  "node:perf_hooks": ["host/"],
  "node:worker_threads": ["host/", "worker"],
  "node:child_process": ["host/"],
  "node:process": ["main", "host/node-processes"],
};

/** An import by name of what is random in node:crypto: no other module has these names. */
const RANDOM_IMPORT = /\bimport\s*\{[^}]*\brandom(?:Bytes|UUID|Int|Fill|FillSync)\b[^}]*\}\s*from\b/;

/** Words in code that reach past a seam, and who may use them. */
const SEAM_WORDS: readonly { readonly words: RegExp; readonly instead: string; readonly allowed: readonly string[] }[] = [
  { words: /\bDate\s*\.\s*now\b|\bnew\s+Date\s*\(\s*\)/, instead: "clock.wallMs()", allowed: ["host/"] },
  { words: /\bperformance\s*\.\s*\w+/, instead: "clock.monotonicMs()", allowed: ["host/"] },
  { words: /(?<![.\w])set(?:Timeout|Interval|Immediate)\b/, instead: "clock.after() or clock.defer()", allowed: ["host/"] },
  { words: /\bglobalThis\s*[.[]/, instead: "an import or a seam", allowed: ["host/"] },
  { words: /\bMath\s*\.\s*random\b/, instead: "random.fraction()", allowed: ["host/"] },
  // As a member of whatever the module is called here; imported by name it is found by `RANDOM_IMPORT`.
  { words: /\.\s*random(?:Bytes|UUID|Int|Fill|FillSync)\b/, instead: "random.bytes()", allowed: ["host/"] },
  { words: /\b(?:getRandomValues|webcrypto)\b/, instead: "random.bytes()", allowed: ["host/"] },
  { words: RANDOM_IMPORT, instead: "random.bytes()", allowed: ["host/"] },
  {
    words: /(?<![.\w])process\s*(?:\.|\[|\?\.)/,
    instead: "what main.ts hands in",
    allowed: ["main", "host/node-processes", "host/node-programs"],
  },
  { words: /(?<![.\w])console\s*\.\s*\w+/, instead: "the Log that is handed in", allowed: ["cli/", "main"] },
];

const LINES_MAX = 500;

export type Rule = "import" | "package" | "seam" | "default-export" | "length";

export interface Violation {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly rule: Rule;
  /** What is wrong and what to do instead. */
  readonly message: string;
}

/** A source file: `path` from the project's root with forward slashes, and its text. */
export interface Source {
  readonly path: string;
  readonly text: string;
}

/** Every violation in one file. Files outside lib/ are held to their length only. */
export function checkSource({ path, text }: Source): Violation[] {
  const violations: Violation[] = [];
  const report = (index: number, rule: Rule, message: string) => {
    violations.push({ path, line: lineAt(text, index), rule, message });
  };
  checkLength(text, report);
  const match = /^lib\/(.+)\.ts$/.exec(path);
  if (match === null) return violations;
  const module = match[1] as string;
  if (MAY_IMPORT[unitOf(module)] === undefined) {
    report(0, "import", `${unitOf(module)} is not in the table of scripts/import-rules.ts: add it there, with why`);
    return violations;
  }
  const masked = maskSource(text);
  for (const { specifier, index, isLoaded } of importsOf(masked.code, text)) {
    const verdict = judgeImport(module, specifier);
    if (verdict !== null) report(index, verdict.rule, verdict.message);
    const whyLate = LOADED_LATE[packageOf(specifier)];
    if (isLoaded && whyLate !== undefined) report(index, "package", `${specifier} is loaded where it is used: ${whyLate}`);
  }
  checkWords(module, masked.code, report);
  const exported = /\bexport\s+default\b|\bas\s+default\b/.exec(masked.code);
  if (exported !== null) report(exported.index, "default-export", "no default exports: a thing has one name everywhere");
  return violations;
}

type Report = (index: number, rule: Rule, message: string) => void;

function checkLength(text: string, report: Report): void {
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  if (lines > LINES_MAX)
    report(text.length - 1, "length", `${lines} lines; at most ${LINES_MAX}: find the second thing in this file`);
}

/** What is wrong with an import, or null. */
function judgeImport(module: string, specifier: string): { readonly rule: Rule; readonly message: string } | null {
  if (specifier.startsWith(".")) {
    const message = judgeModule(module, specifier);
    return message === null ? null : { rule: "import", message };
  }
  if (specifier.startsWith("node:")) {
    const allowed = SEAM_MODULES[specifier];
    if (allowed === undefined || isListed(module, allowed)) return null;
    return { rule: "seam", message: `${specifier} is for ${allowed.join(", ")}: use the host's seams` };
  }
  const allowed = PACKAGES[packageOf(specifier)];
  if (allowed === undefined)
    return { rule: "package", message: `${specifier} is no package listed in scripts/import-rules.ts` };
  return isListed(module, allowed) ? null : { rule: "package", message: `${specifier} is for ${allowed.join(", ")}` };
}

function judgeModule(module: string, specifier: string): string | null {
  const target = resolveModule(module, specifier);
  if (target === null) return `${specifier} leaves lib/, or is not a module of ours (suffix .js)`;
  const unit = unitOf(module);
  const allowed = MAY_IMPORT[unit] ?? [];
  if (unitOf(target) === unit || isListed(target, COMMON) || isListed(target, allowed)) return null;
  if (target.startsWith("host/") && !HOST_IMPLEMENTATION.test(target)) return null;
  return `${unit} may not import ${target}; it may import ${describe(allowed)}`;
}

function checkWords(module: string, code: string, report: Report): void {
  for (const { words, instead, allowed } of SEAM_WORDS) {
    if (isListed(module, allowed)) continue;
    for (const match of code.matchAll(new RegExp(words, "g"))) {
      report(match.index, "seam", `${match[0].replace(/\s+/g, " ")} is for ${allowed.join(", ")}: use ${instead}`);
    }
  }
}

/**
 * The specifiers of static imports, re-exports, dynamic imports and import types. `isLoaded`: whoever loads the module loads
 * that, too. `code` has strings blanked, `text` has them.
 */
function importsOf(code: string, text: string): { specifier: string; index: number; isLoaded: boolean }[] {
  const found: { specifier: string; index: number; isLoaded: boolean }[] = [];
  for (const match of code.matchAll(/\b(?:from|import)\s*\(?\s*(["'`])/g)) {
    const start = match.index + match[0].length;
    const end = code.indexOf(match[1] as string, start);
    if (end < 0) continue;
    const statement = code.slice(0, match.index).match(/\b(?:import|export)\b(?!.*\b(?:import|export)\b)[^;]*$/s)?.[0] ?? "";
    const isLoaded = !match[0].includes("(") && !/^(?:import|export)\s+type\b/.test(statement);
    found.push({ specifier: text.slice(start, end), index: match.index, isLoaded });
  }
  return found;
}

/** `lsm/table` and `../bytes/hash.js` give `bytes/hash`; null where it leads out of lib/ or does not end in `.js`. */
function resolveModule(module: string, specifier: string): string | null {
  if (!specifier.endsWith(".js")) return null;
  const parts = module.split("/").slice(0, -1);
  for (const part of specifier.slice(0, -".js".length).split("/")) {
    if (part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return null;
  }
  return parts.join("/");
}

/** The unit that a module belongs to in the tables: its first folder, or itself at the top level. */
function unitOf(module: string): string {
  const slash = module.indexOf("/");
  return slash < 0 ? module : module.slice(0, slash + 1);
}

function isListed(module: string, entries: readonly string[]): boolean {
  return entries.some((entry) => (entry.endsWith("/") ? module.startsWith(entry) : module === entry));
}

function describe(allowed: readonly string[]): string {
  return [...allowed, "bytes/", "host's interfaces", ...LEAVES].join(", ");
}

function packageOf(specifier: string): string {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}
