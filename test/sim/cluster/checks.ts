/**
 * Judges a history against the ledger, once a world is quiet: nothing acknowledged is lost, no strong read was stale, nothing
 * was applied twice, deleted keys stay deleted, everything was answered in time, all owners hold the same. Each check throws a
 * `Violation` that names the operation.
 */
import type { CausalLedger } from "./causal-ledger.js";
import { effectsOf, isLost, wentWithLeavers } from "./effects.js";
import { describeOperation, type History, isAnswered, type Outcome } from "./history.js";
import { describeWrite, hasSeen, isBuried, Violation, type Write } from "./key-history.js";
import { checkReads } from "./read-checks.js";
import { ANSWER_MS_MAX, REQUEST_TIMEOUT_MS, type World } from "./world.js";

/** What an answer may take beyond `request-timeout`: the way there and back, and waiting in queues. */
const ANSWER_MARGIN_MS = ANSWER_MS_MAX - REQUEST_TIMEOUT_MS;
/** Error replies after which a request on one key has certainly not taken effect. */
const WITHOUT_EFFECT = /^(ERR|BUSY|CONFLICT|WRONGTYPE|NOAUTH|LOADING)\b|nothing was changed|it was not (made|run)$/;
/** Of several keys each has an outcome of its own; and what one node says of itself is not all there is to say. */
const UNCERTAIN = /\d keys failed: |may still take effect$/;

/** All checks. REQUIRES a world that is quiet, and reads of every key since (`finalReads`). */
export function checkAll(world: World): void {
  checkAnswers(world);
  checkAcknowledgedWrites(world);
  checkReach(world);
  checkOneEffect(world.history, world.ledger);
  checkCounters(world);
  checkReads(world);
  checkConvergence(world);
}

/** Every request was answered in time, unless something was done to its node. */
export function checkAnswers({ history, disturbances }: World): void {
  for (const operation of history.operations) {
    const { invoked, returned, outcome, node } = operation;
    if (returned === null) throw new Violation(operation.key, `never ended: ${describeOperation(operation)}`);
    const isLate = returned.ms - invoked.ms > REQUEST_TIMEOUT_MS + ANSWER_MARGIN_MS;
    const isMissing = outcome.kind === "unknown" && outcome.why === "no answer";
    if (!isLate && !isMissing) continue;
    if (disturbances.excuse(node, invoked.ms, returned.ms) === null)
      throw new Violation(operation.key, `not answered in time by an undisturbed node: ${describeOperation(operation)}`);
  }
}

/** Each acknowledged write is held by all owners of its key, or was superseded by one that saw it. */
export function checkAcknowledgedWrites(world: World): void {
  const { ledger } = world;
  for (const operation of world.history.operations) {
    if (!isAnswered(operation)) continue;
    const writes = effectsOf(ledger, operation);
    if (writes === null) continue;
    if (writes.length === 0)
      throw new Violation(operation.key, `acknowledged and never stored: ${describeOperation(operation)}`);
    if (isLost(world, writes, operation.needed.write)) continue;
    const history = ledger.ofKey(operation.key);
    if (wentWithLeavers(world, history, { writes, told: operation.needed.write })) continue;
    for (const node of world.ownersOf(operation.key)) {
      const record = history.records[node] ?? null;
      const isKept = writes.some(
        (write) => isBuried(history, node, write) || (write.dot !== null && record?.context.covers(write.dot) === true),
      );
      if (!isKept) throw new Violation(operation.key, `node ${node} has lost it: ${describeOperation(operation)}`);
    }
  }
}

/** What was acknowledged had reached as many replicas, or those who stand in for them, as its level asks. */
export function checkReach({ history, ledger }: World): void {
  for (const operation of history.operations) {
    const { needed, returned, key } = operation;
    const writes = isAnswered(operation) ? effectsOf(ledger, operation) : null;
    if (writes === null || writes.every(({ dot }) => dot === null)) continue;
    const reachOf = ({ reached, stoodIn }: Write): number => {
      const forOthers = [...stoodIn].map(([member, order]) => [ledger.nodeOfMember.get(member) ?? member, order] as const);
      const places = needed.standIns === "strict" ? [...reached] : [...reached, ...forOthers];
      return new Set(places.filter(([, order]) => order < returned!.order).map(([node]) => node)).size;
    };
    const reach = Math.max(...writes.map(reachOf));
    if (reach < needed.write)
      throw new Violation(key, `acknowledged by ${reach} of ${needed.write} replicas: ${describeOperation(operation)}`);
  }
}

/** One write of a client is one version, or versions that are known to be one; what was refused has no effect. */
export function checkOneEffect(history: History, ledger: CausalLedger): void {
  for (const operation of history.operations) {
    const { value, key, outcome } = operation;
    if (value === null) continue;
    const writes = ledger.writesOfValue(key, value);
    const first = writes[0];
    if (first === undefined) continue;
    if (isWithoutEffect(outcome))
      throw new Violation(key, `had an effect that it must not have: ${describeOperation(operation)}`);
    for (const one of writes) {
      for (const other of writes) {
        if (one.index <= other.index || hasSeen(one, other)) continue;
        if (one.writeId !== null && one.writeId === other.writeId) continue;
        // EXPIRE writes the value again, and may do so on both sides of a partition.
        if (history.ofKey(key).some(({ name }) => name === "expire")) continue;
        throw new Violation(
          key,
          `applied twice: ${describeOperation(operation)}: ${describeWrite(one)} ${describeWrite(other)}`,
        );
      }
    }
  }
}

/**
 * Each INCR is one version, one more than the one that it was computed from. While nothing goes wrong it supersedes that and
 * nothing else, so that it is the number of all before it. INCR is no exact ledger while nodes disagree on who decides: then a
 * request may be made twice, as versions that name it, and versions stand side by side.
 */
export function checkCounters(world: World): void {
  const { history, ledger, disturbances } = world;
  const isExact = world.topology === "alone" || disturbances.isCalm;
  for (const key of history.keys) {
    const increments = history.ofKey(key).filter(({ name }) => name === "incr");
    if (increments.length === 0) continue;
    const effects = new Set<string>();
    const { writes } = ledger.ofKey(key);
    for (const write of writes) {
      if (write.value === null) continue;
      effects.add(write.writeId ?? `${write.index}`);
      const before = [...write.past].filter(({ value }) => value !== null);
      if (isExact && Number(write.value) !== before.length + 1)
        throw new Violation(key, `${describeWrite(write)} comes after ${before.length} increments`);
      const isNext = ({ value, index }: Write): boolean => index < write.index && Number(value) + 1 === Number(write.value);
      if (write.value !== "1" && !writes.some(isNext))
        throw new Violation(key, `${describeWrite(write)} is not one more than any before it`);
    }
    const attempted = increments.filter(({ outcome }) => !isWithoutEffect(outcome));
    if (effects.size > attempted.length)
      throw new Violation(key, `${attempted.length} increments were tried and ${effects.size} took effect`);
    const acknowledged = increments.filter(isAnswered).length;
    if (acknowledged > effects.size)
      throw new Violation(key, `${acknowledged} increments were acknowledged and ${effects.size} took effect`);
  }
}

/** All owners of each key hold equal records. */
export function checkConvergence(world: World): void {
  const key = world.ledger.differing(world.ownersOf);
  if (key !== null) throw new Violation(key, "its owners hold different records");
}

/** The client was told that nothing has changed, and nothing will. */
function isWithoutEffect(outcome: Outcome): boolean {
  if (outcome.kind !== "refused") return outcome.kind === "unsent";
  return WITHOUT_EFFECT.test(outcome.text) && !UNCERTAIN.test(outcome.text);
}
