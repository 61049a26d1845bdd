/** A broken promise for people: what it is, everything that happened to its key, and what the nodes had to say. */
import type { Record } from "../../../lib/causality/record.js";
import type { CausalLedger } from "./causal-ledger.js";
import { describeOperation } from "./history.js";
import { describeWrite, Violation, writeOf } from "./key-history.js";
import type { World } from "./world.js";

/** What values are filled up with. */
const FILLING = /\.{4,}/g;
const LOG_LINES_SHOWN = 60;

export function describeViolation(world: World, error: unknown): string {
  const text =
    error instanceof Error ? (error instanceof Violation ? error.message : (error.stack ?? error.message)) : String(error);
  const key = error instanceof Violation ? error.key : null;
  return [
    `world ${world.seed} (${world.machines.length} nodes, ${world.topology}) at ${world.nowMs.toFixed(1)} ms: ${text}`,
    ...(key === null ? [] : describeKey(world, key)),
    "",
    "the last that the nodes logged:",
    ...world.logLines.slice(-LOG_LINES_SHOWN),
  ]
    .map((line) => line.replaceAll(FILLING, "..."))
    .join("\n");
}

function describeKey({ history, ledger, machines }: World, key: string): string[] {
  const events = [
    ...history.ofKey(key).map((operation) => ({ order: operation.invoked.order, text: describeOperation(operation) })),
    ...ledger.ofKey(key).writes.map((write) => ({
      order: write.at.order,
      text: `    ${describeWrite(write)} after ${pastOf(ledger, key, write.index)}`,
    })),
  ].sort((a, b) => a.order - b.order);
  const ofKey = ledger.ofKey(key);
  const describe = (who: string, record: Record | null): string => {
    const held = record?.versions.map(({ dot }) => writeOf(ofKey, dot)?.index);
    return `${who} ${record === null ? "nothing" : `[${held?.join(", ")}], context ${describeContext(record.context.entries)}`}`;
  };
  const records = machines.flatMap(({ index, name }) => [
    describe(`${name} holds`, ofKey.records[index] ?? null),
    ...[...ofKey.hints[index]!].map(([target, record]) => describe(`${name} keeps for ${target}`, record)),
  ]);
  return ["", `everything about ${key}:`, ...events.map(({ text }) => text), ...records];
}

function pastOf(ledger: CausalLedger, key: string, index: number): string {
  const past = [...(ledger.ofKey(key).writes[index]?.past ?? [])].map((write) => write.index);
  return past.length === 0 ? "nothing" : rangesOf(past.sort((a, b) => a - b));
}

/** `0-3, 5`. Sorted. */
function rangesOf(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(", ");
}

interface DotLike {
  readonly actor: string;
  readonly sequence: number;
}

function describeContext(entries: readonly DotLike[]): string {
  return entries.map(({ actor, sequence }) => `${Buffer.from(actor, "latin1").toString("hex")}:${sequence}`).join(" ");
}
