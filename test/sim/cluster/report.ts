/** A broken promise for people: what it is, everything that happened to its key, and what the nodes had to say. */
import { type CausalLedger, describeWrite, Violation } from "./causal-ledger.js";
import { describeOperation } from "./history.js";
import type { World } from "./world.js";

const LOG_LINES_SHOWN = 30;

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
  ].join("\n");
}

function describeKey({ history, ledger, machines }: World, key: string): string[] {
  const events = [
    ...history.ofKey(key).map((operation) => ({ order: operation.invoked.order, text: describeOperation(operation) })),
    ...ledger.ofKey(key).writes.map((write) => ({
      order: write.at.order,
      text: `    ${describeWrite(write)} after ${pastOf(ledger, key, write.index)}`,
    })),
  ].sort((a, b) => a.order - b.order);
  const records = machines.map(({ index, name }) => {
    const record = ledger.ofKey(key).records[index] ?? null;
    const held = record?.versions.map(
      ({ dot }) => ledger.ofKey(key).writes.find((write) => write.dot !== null && isSameDot(write.dot, dot))?.index,
    );
    return `${name} holds ${record === null ? "nothing" : `[${held?.join(", ")}], context ${describeContext(record.context.entries)}`}`;
  });
  return ["", `everything about ${key}:`, ...events.map(({ text }) => text), ...records];
}

function pastOf(ledger: CausalLedger, key: string, index: number): string {
  const past = [...(ledger.ofKey(key).writes[index]?.past ?? [])].map((write) => write.index);
  return past.length === 0 ? "nothing" : past.sort((a, b) => a - b).join(", ");
}

interface DotLike {
  readonly actor: string;
  readonly sequence: number;
}

function isSameDot(a: DotLike, b: DotLike): boolean {
  return a.actor === b.actor && a.sequence === b.sequence;
}

function describeContext(entries: readonly DotLike[]): string {
  return entries.map(({ actor, sequence }) => `${Buffer.from(actor, "latin1").toString("hex")}:${sequence}`).join(" ");
}
