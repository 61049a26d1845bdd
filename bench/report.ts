/** What every bench ends with: a table on the terminal, and a file in bench/results with the machine and the versions. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, platform, release, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Summary } from "./stats.js";

/** The project's root, from dist/bench/report.js. */
export const root = fileURLToPath(new URL("../../", import.meta.url));

/** Fewer rounds than this give a figure for oneself, not one to quote. */
export const ROUNDS_TO_QUOTE = 5;

export type Row =
  | {
      readonly kind: "measured";
      readonly what: string;
      readonly unit: string;
      readonly bar: Bar | null;
      readonly summary: Summary;
    }
  /** A figure without a peer. */
  | { readonly kind: "alone"; readonly what: string; readonly unit: string; readonly bar: Bar | null; readonly value: number }
  /** Why there is no figure. */
  | { readonly kind: "skipped"; readonly what: string; readonly reason: string };

/** From design.md, section 11: what the ratio (or, alone, the value) has to reach. */
export interface Bar {
  readonly is: "at least" | "at most";
  readonly value: number;
}

export interface Report {
  /** `front`, `cluster`, `engine`, `memory`. */
  readonly name: string;
  /** The sides of the ratio, as the table heads them. */
  readonly ours: string;
  readonly peer: string;
  readonly rows: readonly Row[];
  /** What the figures depend on: sizes, options, versions of the peers. */
  readonly settings: Readonly<Record<string, string | number>>;
}

/** Prints the table, and writes the file where there is a figure to keep. */
export function publish(report: Report): void {
  console.log(`\n${render(report)}\n`);
  if (report.rows.every(({ kind }) => kind === "skipped")) return;
  const at = new Date().toISOString();
  const folder = join(root, "bench", "results");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${at.slice(0, 16).replace(":", "")}-${report.name}.json`);
  writeFileSync(
    path,
    `${JSON.stringify({ at, machine: describeMachine(), versions: describeVersions(), ...report }, null, 2)}\n`,
  );
  console.log(`written to ${path}`);
}

export function render({ rows, ours, peer }: Report): string {
  const cells = [["", ours, peer, "ratio", "lowest", "highest", "bar", ""], ...rows.map(cellsOf)];
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (row: readonly string[]) =>
    row.map((cell, column) =>
      column === 0 || column === 7 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
  return cells
    .map(line)
    .map((row) => row.join("  ").trimEnd())
    .join("\n");
}

function cellsOf(row: Row): string[] {
  switch (row.kind) {
    case "measured": {
      const { ours, peer, ratio, ratioMin, ratioMax, rounds } = row.summary;
      const figures = [shorten(ours), shorten(peer), ratio.toFixed(2), ratioMin.toFixed(2), ratioMax.toFixed(2)];
      const note = rounds < ROUNDS_TO_QUOTE ? `only ${rounds} rounds` : "";
      return [`${row.what}, ${row.unit}`, ...figures, ...judge(row.bar, ratio, note)];
    }
    case "alone":
      return [`${row.what}, ${row.unit}`, shorten(row.value), "", "", "", "", ...judge(row.bar, row.value, "")];
    case "skipped":
      return [row.what, "", "", "", "", "", "", `skipped: ${row.reason}`];
  }
}

/** The bar's cell and the note's. */
function judge(bar: Bar | null, value: number, note: string): [string, string] {
  if (bar === null) return ["", note];
  const isMet = bar.is === "at least" ? value >= bar.value : value <= bar.value;
  const notes = [isMet ? "" : "missed", note].filter((text) => text !== "");
  return [`${bar.is === "at least" ? ">=" : "<="} ${bar.value}`, notes.join(", ")];
}

/** Three or four digits that matter, with thousands set apart. */
function shorten(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 100 ? 2 : 0 });
}

function describeMachine(): Record<string, string | number> {
  const processors = cpus();
  return {
    processor: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryBytes: totalmem(),
    system: `${platform()} ${release()}`,
  };
}

function describeVersions(): Record<string, string> {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return {
    node: process.versions.node,
    kindred: version,
    commit: outputOf("git", ["-C", root, "describe", "--always", "--dirty"]),
  };
}

/** What a program prints, or "unknown" where it cannot be run. */
export function outputOf(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "unknown";
  }
}
