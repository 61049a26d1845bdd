/**
 * Takes commands that read their keys, decide and write to where that is decided: the first reachable replica, in the order of
 * preference, which at LOCAL levels is one of this data centre and at all others the same for all of them. While nodes agree who that is, such commands of a key run one after the other, on one node.
 */
import { background } from "../background.js";
import { latin1Of } from "../bytes/latin1.js";
import { slotOf } from "../bytes/slot.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { slotOfDataKey } from "../replica/data-key.js";
import { DurableAnswer } from "../replica/durable-answer.js";
import type { MemberRequest } from "../replica/remote-replicas.js";
import type { Quorum } from "./consistency.js";
import { LeasesGiven, LeasesTaken } from "./decision-leases.js";
import { Forward } from "./forward.js";
import {
  type CommandRequest,
  decodeCommand,
  encodeCommand,
  encodeRefused,
  encodeReplied,
  ForwardKind,
  STALE_RING,
} from "./forward-messages.js";
import { forwardedBy } from "./forwarded.js";
import type { Forwarded, Hold, Scope } from "./keyspace.js";
import type { LocalKeyspace } from "./local-keyspace.js";
import type { QuorumContext } from "./quorum-context.js";
import type { QuorumRequests } from "./quorum-requests.js";
import { SharedTurns } from "./shared-turns.js";
import type { SlotPlan, SlotPlans } from "./slot-plan.js";

/** A key that a command decides on, with the database that it is in. */
export interface RoutedKey {
  readonly scope: Scope;
  readonly key: Uint8Array;
}

/** A command on its way: its words, and what its connection runs with. */
export interface RoutedCommand {
  /** Owned. */
  readonly args: readonly Buffer[];
  /** What it decides on, at least one. */
  readonly targets: readonly RoutedKey[];
  readonly protocol: 2 | 3;
  readonly scope: Scope;
  /** Whether a second run is known by the id of the request: only where it writes at most one version. */
  readonly repeats: "once at most" | "known by its id";
}

/**
 * Runs a command here that another node passed on, or that none of the others took; then `hold` has its keys' turns. Resolves
 * with the encoded reply.
 */
export type CommandRun = (command: CommandToRun, forwarded: Forwarded, hold: Hold | null) => Promise<string>;
export type CommandToRun = Omit<CommandRequest, "ringVersion" | "spareMs" | "leaseNumber" | "stamp" | "writeId">;

/** The keys that the words of such a command name; of what this version does not run for others, none. */
export type CommandKeys = (args: readonly Buffer[]) => readonly Uint8Array[];

/** What the commands need of it. */
export interface CommandRouting {
  /** True when what reads this key and decides does not run here. */
  isElsewhere(scope: Scope, key: Uint8Array): boolean;
  /** True when all of these are decided on by one other node. */
  areElsewhere(targets: readonly RoutedKey[]): boolean;
  /** Has it run where its keys are decided on. Resolves with the encoded reply; rejects with an `OperatingError`. */
  forward(command: RoutedCommand): Promise<string>;
  /** Once, before anything is passed on. */
  serve(run: CommandRun, keysOf: CommandKeys): void;
}

export class CommandForwarding implements CommandRouting {
  readonly #requests: QuorumRequests;
  readonly #local: LocalKeyspace;
  readonly #plans: SlotPlans;
  readonly #context: QuorumContext;
  readonly #turns: SharedTurns;
  readonly #leasesGiven: LeasesGiven;
  readonly #leasesTaken = new LeasesTaken();
  #run: CommandRun | null = null;
  #keysOf: CommandKeys = () => [];

  constructor(options: { requests: QuorumRequests; local: LocalKeyspace; context: QuorumContext }) {
    this.#requests = options.requests;
    this.#local = options.local;
    this.#plans = options.context.plans;
    this.#context = options.context;
    this.#turns = new SharedTurns(options.context.replica.queues);
    this.#leasesGiven = new LeasesGiven({ remote: options.context.remote, instance: options.requests.instance });
  }

  isElsewhere(scope: Scope, key: Uint8Array): boolean {
    return this.#elsewhere(scope, key) !== null;
  }

  areElsewhere(targets: readonly RoutedKey[]): boolean {
    const first = this.#elsewhere(targets[0]!.scope, targets[0]!.key);
    return first !== null && targets.every(({ scope, key }) => this.#elsewhere(scope, key) === first);
  }

  /** The other node that decides on a key; null where this one does. */
  #elsewhere(scope: Scope, key: Uint8Array): MemberId | null {
    if (scope.forwarded !== undefined || scope.hold !== null) return null;
    const plan = this.#planOf(this.#context.replica.keys.of(scope.database, key));
    if (plan.isAlone) return null;
    const first = this.#firstOf(plan.deciders(scope.consistency.quorum));
    return first === this.#context.selfId ? null : first;
  }

  async forward({ args, targets, protocol, scope, repeats }: RoutedCommand): Promise<string> {
    this.#context.inFlight.requireRoom();
    const dataKeys = targets.map((target) => this.#context.replica.keys.of(target.scope.database, target.key));
    const deadline = this.#local.deadline(scope);
    const writeId = this.#requests.nextWriteId();
    const stamp = this.#context.replica.nextStamp();
    const { database } = scope;
    const quorum = this.#planOf(dataKeys[0]!).quorumElsewhere(scope.consistency.quorum);
    const consistency = { ...scope.consistency, quorum };
    const command = { protocol, database, consistency, args };
    const forwarded = { writeId, deadlineMs: deadline.atMs, stamp };
    const send = (hold: Hold): Promise<string> =>
      new Promise((resolve, reject) => {
        const forward = new Forward(this.#context, {
          kind: ForwardKind.command,
          route: () => ({
            ...this.#candidatesFor(dataKeys, quorum, () => this.#runHere(command, forwarded, hold)),
            payloadFor: (spareMs, leaseNumber) => {
              const ringVersion = this.#plans.ring.document.version;
              return encodeCommand({ ...command, ringVersion, spareMs, leaseNumber, stamp, writeId });
            },
          }),
          deadlineMs: deadline.atMs,
          repeats: repeats === "known by its id" ? "in turn" : "never",
          leases: this.#leasesGiven,
          onAnswer: (answer) => resolve(latin1Of(answer, 1)),
          onFailure: reject,
        });
        forward.start();
      });
    const work = async (hold: Hold): Promise<string> => {
      if (deadline.isPast) throw deadline.error();
      // From now on it may take effect, and says so itself when nobody has answered in time.
      deadline.meet();
      return send(hold).finally(() => {
        // Still in their turns here.
        for (const dataKey of dataKeys) this.#requests.refreshes.forget(dataKey);
      });
    };
    // What follows for these keys on this node finds the command done.
    if (dataKeys.length === 1) return deadline.bound(this.#turns.run(dataKeys[0]!, work));
    return deadline.bound(this.#local.inTurnOf(scope, dataKeys, (held) => work(held.hold!)));
  }

  serve(run: CommandRun, keysOf: CommandKeys): void {
    this.#run = run;
    this.#keysOf = keysOf;
    this.#context.remote.serve(ForwardKind.command, (request) => this.#onCommand(request));
    this.#context.remote.serve(ForwardKind.lease, ({ payload, deadlineMs }) => this.#leasesTaken.learn(payload, deadlineMs));
  }

  #onCommand(request: MemberRequest): void {
    const command = decodeCommand(request.payload);
    if (this.#isStale(command)) return request.answer(STALE_RING);
    const { writeId, leaseNumber } = command;
    const leasedUntilMs = (): number => this.#leasesTaken.untilMs(writeId, leaseNumber);
    const forwarded = forwardedBy(request, command, this.#context.clock, leasedUntilMs);
    background(
      this.#runHere(command, forwarded, null).then((answer) =>
        this.#context.turn.add(new DurableAnswer(request, answer, encodeRefused)),
      ),
    );
  }

  /** Who passed it on takes others for the owners of its keys: here it would be decided besides where that is done by now. */
  #isStale({ ringVersion, args }: CommandRequest): boolean {
    if (ringVersion >= this.#plans.ring.document.version) return false;
    return this.#keysOf(args).some((key) => this.#plans.isStale(slotOf(key), ringVersion));
  }

  async #runHere(command: CommandToRun, forwarded: Forwarded, hold: Hold | null): Promise<Buffer> {
    try {
      const reply = await this.#run!(command, forwarded, hold);
      const { begin } = forwarded;
      return begin?.isMissed ? encodeRefused(begin.error()) : encodeReplied(reply);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return encodeRefused(error);
    }
  }

  /** The deciders before this node, those that can be reached; then, if it is one itself, this node; then the others. */
  #candidatesFor(
    dataKeys: readonly string[],
    quorum: Quorum,
    runHere: () => Promise<Buffer>,
  ): { readonly candidates: readonly MemberId[]; readonly here: (() => Promise<Buffer>) | null } {
    const deciders = this.#planOf(dataKeys[0]!).deciders(quorum);
    const { selfId, health } = this.#context;
    const first = this.#firstOf(deciders);
    // Several keys agree on the first only. While they waited for their turns, that may have come to be this node.
    if (dataKeys.length > 1) {
      const isHere = first === null || first === selfId;
      return isHere ? { candidates: [], here: runHere } : { candidates: [first], here: null };
    }
    const selfPosition = deciders.indexOf(selfId);
    const isSelfOwner = selfPosition >= 0;
    const reachable = deciders.filter((owner, at) => {
      return owner !== selfId && health.isUsable(owner) && (!isSelfOwner || at < selfPosition);
    });
    const candidates = [...reachable].sort((a, b) => Number(b === first) - Number(a === first));
    return { candidates, here: isSelfOwner || candidates.length === 0 ? runHere : null };
  }

  /**
   * The first owner that has not stopped answering; failing that, one that is linked at all. This node always answers itself.
   * A busy moment of an owner changes nothing: a node that noticed and one that did not would both have the command decided.
   */
  #firstOf(deciders: readonly MemberId[]): MemberId | null {
    const { selfId, health } = this.#context;
    let linked: MemberId | null = null;
    for (const owner of deciders) {
      if (owner === selfId || health.isAnswering(owner)) return owner;
      if (linked === null && health.isUsable(owner)) linked = owner;
    }
    return linked;
  }

  #planOf(dataKey: string): SlotPlan {
    return this.#plans.of(slotOfDataKey(dataKey));
  }
}
