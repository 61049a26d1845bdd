/**
 * Strong reads (STRICT with R+W>N, and everything on a ring of one) are never stale: what one answers covers every write
 * acknowledged before it began, and what earlier ones had answered. What is deleted or expired is not seen again.
 */
import type { CausalLedger } from "./causal-ledger.js";
import { effectsOf, mayBeMissed } from "./effects.js";
import { describeOperation, isAnswered, type Operation } from "./history.js";
import { describeWrite, hasSeen, supersedes, Violation, type Write, wasRemovedAndLost } from "./key-history.js";
import { parseSiblings, type WireReply } from "./sim-client.js";
import type { World } from "./world.js";
import { shownBy } from "./world-client.js";

export function checkReads(world: World): void {
  for (const key of world.history.keys) new KeyReads(world, key).check();
}

class KeyReads {
  readonly #world: World;
  readonly #key: string;
  readonly #ledger: CausalLedger;
  readonly #operations: readonly Operation[];

  constructor(world: World, key: string) {
    this.#world = world;
    this.#key = key;
    this.#ledger = world.ledger;
    this.#operations = world.history.ofKey(key).filter(isAnswered);
  }

  check(): void {
    for (const read of this.#operations) {
      if (read.name === "get") this.#checkGet(read);
      else if (read.name === "siblings") this.#checkSiblings(read);
    }
  }

  #checkGet(read: Operation): void {
    const reply = replyOf(read);
    const answers = reply === null ? this.#deadBefore(read) : this.#writesOf(reply, read);
    if (reply !== null && answers.length === 0) {
      if (this.#isTakenBack(reply, read)) return;
      this.#fail(read, "answers what nobody wrote");
    }
    if (reply !== null) {
      const nodeWallMs = Math.min(read.wallInvokedMs, read.wallReturnedMs);
      if (answers.every(({ expiryMs }) => expiryMs !== 0 && expiryMs <= nodeWallMs))
        this.#fail(read, "answers what has expired");
    }
    const known = this.#knownBefore(read);
    const isRight = (answer: Write): boolean =>
      known.every(({ writes }) => writes.some((one) => this.#mayFollow(one, answer, read)));
    if (known.length === 0 || answers.some(isRight)) return;
    const missed = known.find(
      ({ writes }) => !answers.some((answer) => writes.some((one) => this.#mayFollow(one, answer, read))),
    );
    this.#fail(read, `is stale: it misses ${describeOperation((missed ?? known[0]!).operation)}`);
  }

  #checkSiblings(read: Operation): void {
    const found = parseSiblings(replyOf(read));
    if (found?.versions.some(({ value }) => value !== null && this.#isTakenBack(value, read)) === true) return;
    const shown = shownBy(this.#ledger, read);
    const { writes } = this.#ledger.ofKey(this.#key);
    const removals = writes.filter(({ dot, at }) => dot === null && at.order < read.returned!.order);
    for (const { operation, writes: candidates } of this.#knownBefore(read)) {
      // A pruned context does not name all that its versions have seen.
      const isSeen = candidates.some(
        (one) => shown.has(one) || [...shown, ...removals].some((other) => other === one || hasSeen(other, one)),
      );
      if (!isSeen) this.#fail(read, `is stale: it misses ${describeOperation(operation)}`);
    }
    if (found === null) return;
    // What a removal took away may have been there all the same: a disk that lost the removal brings it back.
    const all = [...shown];
    const values = new Set(found.versions.map(({ value }) => value));
    for (const one of all) {
      // The value of what expires may have gone by then.
      if (one.value === null || one.expiryMs !== 0 || all.some((other) => hasSeen(other, one))) continue;
      if (!values.has(one.value)) this.#fail(read, `does not show ${describeWrite(one)}`);
    }
    const history = this.#ledger.ofKey(this.#key);
    const certain = all.filter((one) => !wasRemovedAndLost(history, one));
    const possible = new Set(all.filter((one) => !certain.some(({ past }) => past.has(one))).map(({ value }) => value));
    for (const value of values) {
      if (value !== null && !possible.has(value)) this.#fail(read, `shows ${value}, which was superseded`);
    }
  }

  /** May a read that comes after `one` answer `answer`? They are one, or it was superseded, or stands beside it and is older. */
  #mayFollow(one: Write, answer: Write, read: Operation): boolean {
    if (one === answer || hasSeen(answer, one)) return true;
    if (supersedes(one, answer)) return false;
    const { writes } = this.#ledger.ofKey(this.#key);
    return writes.some(
      (other) =>
        (other === one || hasSeen(other, one)) &&
        other.at.order < read.returned!.order &&
        !supersedes(other, answer) &&
        other.stamp <= answer.stamp,
    );
  }

  /**
   * The log refused a write in the very turn in which the read saw it. Known of the front end: it answers the write with IOERR,
   * and lets the read go as it is.
   */
  #isTakenBack(reply: WireReply, read: Operation): boolean {
    return this.#world.history.ofKey(this.#key).some(({ value, name, node, outcome, invoked, returned }) => {
      const isRefused = outcome.kind === "refused" && outcome.text.startsWith("IOERR");
      const isOfOneTime = invoked.order < read.returned!.order && (returned?.order ?? 0) > read.invoked.order;
      return isRefused && isOfOneTime && node === read.node && (value === reply || name === "incr");
    });
  }

  /** What a strong read must not miss: acknowledged writes, and what strong reads had answered. */
  #knownBefore(read: Operation): readonly Known[] {
    const known: Known[] = [];
    for (const operation of this.#operations) {
      const overlap = overlapOf(operation, read);
      if (operation.returned!.order >= read.invoked.order || overlap <= 0) continue;
      const writes = operation.name === "get" ? this.#seenBy(operation) : effectsOf(this.#ledger, operation);
      if (writes === null || writes.length === 0) continue;
      if (mayBeMissed(this.#world, writes, { overlap, told: toldOf(operation) })) continue;
      known.push({ operation, writes });
    }
    return known;
  }

  #seenBy(read: Operation): readonly Write[] | null {
    const { copies } = read.needed;
    const reply = replyOf(read);
    // A node alone goes on answering reads when its log has failed, from what a restart may take back.
    if (read.isFromFailedLog && copies === 1) return null;
    // What a read found at a majority it has made a majority know.
    if (reply === null || (copies > 1 && overlapOf(read, read) <= 0)) return null;
    const writes = this.#writesOf(reply, read);
    // Old owners answer what is on its way still: new ones may not have it when they begin to be read.
    return this.#ledger.mayMove && !this.#isAcknowledged(writes) ? null : writes;
  }

  #isAcknowledged(writes: readonly Write[]): boolean {
    return this.#operations.some((operation) => effectsOf(this.#ledger, operation)?.some((write) => writes.includes(write)));
  }

  #writesOf(reply: WireReply, read: Operation): readonly Write[] {
    return this.#ledger.writesOfValue(this.#key, String(reply)).filter(({ at }) => at.order < read.returned!.order);
  }

  /** Tombstones, removals, and what had expired by the clock of any node that keeps it: that buries it for all others. */
  #deadBefore(read: Operation): readonly Write[] {
    const wallMs = read.wallLatestMs;
    const isDead = ({ value, expiryMs }: Write): boolean => value === null || (expiryMs !== 0 && expiryMs <= wallMs);
    return this.#ledger.ofKey(this.#key).writes.filter((write) => isDead(write) && write.at.order < read.returned!.order);
  }

  #fail(read: Operation, what: string): never {
    throw new Violation(this.#key, `${describeOperation(read)} ${what}`);
  }
}

interface Known {
  readonly operation: Operation;
  /** One of these it is. */
  readonly writes: readonly Write[];
}

/** How many replicas the one and the other have in common for certain. */
function overlapOf(before: Operation, read: Operation): number {
  const { copies, standIns, centres = [] } = read.needed;
  if (standIns !== "strict" || before.needed.standIns !== "strict") return 0;
  const inCentres = centres.map((answered, at) => (before.needed.centres?.[at] ?? 0) + answered - copies / centres.length);
  return Math.max(toldOf(before) + read.needed.read - copies, ...inCentres);
}

/** Replicas that knew for certain of what was written, or read, when the client was answered. */
function toldOf({ name, needed }: Operation): number {
  return name === "get" ? needed.read : needed.write;
}

function replyOf(operation: Operation): WireReply {
  return operation.outcome.kind === "answered" ? operation.outcome.reply : null;
}
