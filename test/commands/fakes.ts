/** Stand-ins for what commands meet: a clock, connections, a keyspace in a Map, settings; and a node built over them. */
import { latin1Of } from "../../lib/bytes/latin1.js";
import { slotOf } from "../../lib/bytes/slot.js";
import type { ClientSession } from "../../lib/commands/client-session.js";
import { type ClusterMember, ringOfOne } from "../../lib/commands/cluster-view.js";
import type { Command } from "../../lib/commands/command.js";
import type { CommandSettings } from "../../lib/commands/command-settings.js";
import type { Glob } from "../../lib/commands/glob.js";
import type { NodeFacts } from "../../lib/commands/info-sections.js";
import { buildCommands, type NodeCommands } from "../../lib/commands/node-commands.js";
import type { RuntimeSettings, SettingRefusal, SettingValue } from "../../lib/commands/runtime-settings.js";
import type { Consistency, Copies } from "../../lib/coordinator/consistency.js";
import type { Effect, Entry, Hold, KeyPage, Keyspace, NOT_IN_MEMORY, Scope, Siblings } from "../../lib/coordinator/keyspace.js";
import { OperatingError } from "../../lib/errors.js";
import type { Clock, Timer } from "../../lib/host/clock.js";
import { silentLog } from "../../lib/log.js";
import type { Call, ConnectionControl } from "../../lib/resp/call.js";
import { Reply } from "../../lib/resp/reply.js";

/** Time that moves only by `advance`. */
export class FakeClock implements Clock {
  nowMs = 1_700_000_000_000;
  /** Added to the monotonic clock at each look: makes calls take time. */
  stepMs = 0;
  #timers: { atMs: number; fire: () => void }[] = [];

  wallMs(): number {
    return Math.floor(this.nowMs);
  }

  monotonicMs(): number {
    this.nowMs += this.stepMs;
    return this.nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, fire };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  defer(run: () => void): void {
    this.after(0, run);
  }

  advance(byMs: number): void {
    this.nowMs += byMs;
    const due = this.#timers.filter((timer) => timer.atMs <= this.nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.nowMs);
    for (const timer of due) timer.fire();
  }
}

/** Keys in a Map: the newest value only. Counts what it was asked, and fails when told to. */
export class FakeKeyspace implements Keyspace {
  readonly entries = new Map<string, { value: string; version: number }>();
  readonly heldKeys: string[] = [];
  readonly consistencies: Consistency[] = [];
  /** Thrown by the next operation. */
  failure: Error | null = null;
  siblingsOf: Siblings | null = null;
  lastContext = "";
  isHeld = false;
  #version = 0;

  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    this.#note(scope);
    const entry = this.entries.get(idOf(scope.database, key));
    return entry === undefined ? null : { value: entry.value, expiryMs: 0 };
  }

  async read(scope: Scope, key: Uint8Array): Promise<Entry | null> {
    await Promise.resolve();
    return this.peek(scope, key) as Entry | null;
  }

  checkPair(): void {}

  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array): boolean {
    this.#note(scope);
    this.entries.set(idOf(scope.database, key), { value: latin1Of(value), version: ++this.#version });
    return true;
  }

  async put(scope: Scope, key: Uint8Array, value: Uint8Array): Promise<void> {
    await Promise.resolve();
    this.tryPut(scope, key, value);
  }

  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean {
    const effect = decide(this.peek(scope, key) as Entry | null);
    if (effect.kind === "put") this.tryPut(scope, key, Buffer.from(effect.value as string, "latin1"));
    if (effect.kind === "remove") this.entries.delete(idOf(scope.database, key));
    return true;
  }

  async update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void> {
    this.tryUpdate(scope, key, decide);
  }

  tryRemove(scope: Scope, key: Uint8Array): boolean {
    this.#note(scope);
    return this.entries.delete(idOf(scope.database, key));
  }

  async remove(scope: Scope, key: Uint8Array): Promise<boolean> {
    return this.tryRemove(scope, key);
  }

  async updateMany(): Promise<void> {
    throw new OperatingError("ARGUMENT", "not used here");
  }

  async siblings(scope: Scope): Promise<Siblings | null> {
    this.#note(scope);
    return this.siblingsOf;
  }

  async putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, _expiryMs: number, context: string): Promise<void> {
    this.lastContext = context;
    this.tryPut(scope, key, value);
  }

  async fingerprint(scope: Scope, key: Uint8Array): Promise<string> {
    await Promise.resolve();
    return String(this.entries.get(idOf(scope.database, key))?.version ?? "none");
  }

  async hold(scopes: readonly Scope[], keys: readonly Uint8Array[]): Promise<Hold> {
    for (const scope of scopes) this.#note(scope);
    await Promise.resolve();
    const dataKeys = keys.map((key, at) => idOf(scopes[at]!.database, key));
    this.heldKeys.push(...new Set(dataKeys));
    this.isHeld = true;
    return { dataKeys: new Set(dataKeys), release: () => void (this.isHeld = false) };
  }

  async scan(): Promise<KeyPage> {
    return { keys: [], cursor: 0n };
  }

  async randomKey(): Promise<string | null> {
    return null;
  }

  size(database: number): number {
    return [...this.entries.keys()].filter((id) => id.startsWith(`${database}:`)).length;
  }

  expiringSize(): number {
    return 0;
  }

  countKeysInSlot(database: number, slot: number): number {
    return this.#inSlot(database, slot).length;
  }

  async keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]> {
    return this.#inSlot(scope.database, slot).slice(0, count);
  }

  async flush(): Promise<void> {
    this.entries.clear();
  }

  #inSlot(database: number, slot: number): string[] {
    return [...this.entries.keys()]
      .filter((id) => id.startsWith(`${database}:`))
      .map((id) => id.slice(id.indexOf(":") + 1))
      .filter((key) => slotOf(Buffer.from(key, "latin1")) === slot);
  }

  #note(scope: Scope): void {
    this.consistencies.push(scope.consistency);
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
  }
}

function idOf(database: number, key: Uint8Array): string {
  return `${database}:${latin1Of(key)}`;
}

export class FakeControl implements ConnectionControl {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress = "127.0.0.1";
  readonly localPort = 6379;
  readonly inputBytes = 0;
  readonly outputBytes = 0;
  replyMode: "on" | "off" | "skip" = "on";
  state: "open" | "closing" | "killed" = "open";

  constructor(remoteAddress: string, remotePort: number) {
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }

  closeAfterReplies(): void {
    this.state = "closing";
  }

  kill(): void {
    this.state = "killed";
  }

  setReplyMode(mode: "on" | "off" | "skip"): void {
    this.replyMode = mode;
  }

  push(): void {}
}

export const DEFAULTS: Consistency = {
  quorum: { kind: "level", level: "QUORUM" },
  standIns: "sloppy",
  conflicts: "newest",
};

/** What the configuration would hold. */
export class FakeSettings implements CommandSettings, RuntimeSettings {
  requirePassword = "";
  slowlogSlowerThanMicros = 10_000;
  slowlogLengthMax = 128;
  latencyThresholdMs = 0;
  debugCommand: "no" | "local" | "yes" = "local";
  clientsMax = 10_000;
  rewriteOutcome: "written" | "no file" = "no file";
  readonly consistencyByDatabase = new Map<number, Consistency>();
  readonly values = new Map([
    ["timeout", "0"],
    ["max-pair-bytes", "10240"],
    ["port", "6379"],
  ]);

  consistencyOf(database: number): Consistency {
    return this.consistencyByDatabase.get(database) ?? DEFAULTS;
  }

  list(glob: Glob): readonly SettingValue[] {
    return [...this.values].map(([name, value]) => ({ name, value })).filter(({ name }) => glob.matches(name));
  }

  get(name: string): string | null {
    return this.values.get(name) ?? null;
  }

  set(changes: readonly SettingValue[]): SettingRefusal | null {
    for (const { name, value } of changes) {
      if (!/^\d+$/.test(value)) return { kind: "refused", name, reason: "argument couldn't be parsed into an integer" };
    }
    for (const { name, value } of changes) this.values.set(name, value);
    return null;
  }

  rewrite(): "written" | "no file" {
    return this.rewriteOutcome;
  }
}

/** A client: sends a request and gets the bytes of its reply. */
export class FakeClient {
  readonly control: FakeControl;
  readonly session: ClientSession;
  readonly #node: NodeCommands;
  readonly #waiting: { args: readonly Buffer[]; answer: (bytes: string) => void; fail: (error: unknown) => void }[] = [];
  /** Settles when everything dispatched so far is answered. */
  #dispatched: Promise<unknown> = Promise.resolve();
  #isBlocked = false;
  /** Calls of `markWrite`. */
  writes = 0;

  constructor(node: NodeCommands, control: FakeControl) {
    this.#node = node;
    this.control = control;
    this.session = node.commands.open(control);
  }

  /** The words of a line, or the arguments as they are. */
  send(...words: readonly (string | Buffer)[]): Promise<string> {
    const parts = words.length === 1 && typeof words[0] === "string" ? words[0].split(" ") : words;
    const args = parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part));
    return new Promise((answer, fail) => {
      this.#waiting.push({ args, answer, fail });
      this.#pump();
    });
  }

  /** Several requests at once, in order. */
  pipeline(...lines: readonly string[]): Promise<string[]> {
    return Promise.all(lines.map((line) => this.send(line)));
  }

  close(): void {
    this.#node.commands.close(this.session);
  }

  /** Dispatches what waits, up to a request that wants to be alone. */
  #pump(): void {
    while (!this.#isBlocked) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const answered = this.#dispatch(next.args);
      this.#dispatched = Promise.allSettled([this.#dispatched, answered]);
      answered.then(next.answer, next.fail);
    }
  }

  async #dispatch(args: readonly Buffer[]): Promise<string> {
    const reply = new Reply(this.session.protocol);
    const earlier = this.#dispatched;
    let work: Promise<void> | null = null;
    let isAlone = false;
    const call: Call<ClientSession> = {
      session: this.session,
      args,
      reply,
      unanswered: 0,
      markWrite: () => void this.writes++,
      later: (run) => {
        work = run(reply, copied(args));
      },
      alone: (run) => {
        const owned = copied(args);
        isAlone = true;
        this.#isBlocked = true;
        work = earlier.then(() => run(reply, owned));
      },
    };
    this.#node.commands.dispatch(call);
    // What commands were given is overwritten after dispatch, as a connection's buffer would be.
    for (const argument of args) argument.fill(0x21);
    await work;
    if (isAlone) {
      this.#isBlocked = false;
      this.#pump();
    }
    return reply.take();
  }
}

function copied(args: readonly Buffer[]): readonly Buffer[] {
  return args.map((argument) => Buffer.from(argument));
}

const MEMBER: ClusterMember = { id: "ab".repeat(20), ip: "127.0.0.1", port: 6379, peerPort: 16379, health: "online" };

/** A node's commands over fakes. */
export class FakeNode {
  readonly clock = new FakeClock();
  readonly keyspace = new FakeKeyspace();
  readonly settings = new FakeSettings();
  readonly built: NodeCommands;
  copies: Copies = { local: 1, elsewhere: [] };
  replicasMax = 3;
  shutdowns = 0;
  durable: () => Promise<void> = async () => {};
  activeExpiry: "on" | "off" = "on";
  #port = 50_000;

  constructor() {
    this.built = buildCommands({
      keyspace: this.keyspace,
      clock: this.clock,
      keyed: keyedCommands,
      memoryUsage: null,
      settings: this.settings,
      runtimeSettings: this.settings,
      facts: factsOf(this.clock),
      cluster: ringOfOne(() => MEMBER),
      copies: () => this.copies,
      replicasMax: () => this.replicasMax,
      makeDurable: () => this.durable(),
      shutdown: () => void this.shutdowns++,
      setActiveExpiry: (mode) => void (this.activeExpiry = mode),
      log: silentLog,
    });
  }

  connect(remoteAddress = "127.0.0.1"): FakeClient {
    return new FakeClient(this.built, new FakeControl(remoteAddress, this.#port++));
  }
}

function factsOf(clock: Clock): NodeFacts {
  return {
    version: "0.1.0",
    operatingSystem: "Linux test x64",
    runtimeVersion: "v20",
    processId: 1,
    runId: "cd".repeat(20),
    port: 6379,
    executable: "node",
    configFile: "",
    mode: "standalone",
    startedMs: clock.wallMs(),
    memory: () => ({ used: 1_048_576, usedPeak: 1_048_576, resident: 2_097_152, total: 8_388_608 }),
    processor: () => ({ userSeconds: 1, systemSeconds: 0.5 }),
    traffic: () => ({ inputBytes: 0, outputBytes: 0, rejectedConnections: 0 }),
    keyspace: () => ({ hits: 0, misses: 0, expired: 0 }),
    durability: () => ({ isLoading: false, isLastWriteOk: true, unsyncedChanges: 0, lastDurableSeconds: 1_700_000_000 }),
    storage: () => [["storage_tables", 0]],
    resetCounters: () => undefined,
  };
}

const key = { first: 1, last: 1, step: 1 };
const about = { since: "1.0.0", group: "string", summary: "For tests.", arguments: [] } as const;

/** Enough commands on keys to see transactions and prefixes at work. */
const keyedCommands: readonly Command[] = [
  {
    ...about,
    name: "get",
    arity: 2,
    flags: ["readonly", "fast"],
    keys: key,
    arguments: [{ name: "key", type: "key" }],
    run: ({ keyspace }, { session, args, reply }) => {
      const entry = keyspace.peek(session.scope, args[1]!);
      if (entry === null || typeof entry === "symbol") reply.null();
      else reply.bulk(entry.value);
    },
  },
  {
    ...about,
    name: "set",
    arity: -3,
    flags: ["write", "denyoom"],
    keys: key,
    access: ["RW", "access", "update"],
    run: ({ keyspace }, call) => {
      keyspace.tryPut(call.session.scope, call.args[1]!, call.args[2]!, 0);
      call.reply.ok();
    },
  },
  {
    ...about,
    name: "mset",
    arity: -3,
    flags: ["write", "denyoom"],
    keys: { first: 1, last: -1, step: 2 },
    run: ({ keyspace }, call) => {
      const { scope } = call.session;
      call.later(async (reply, args) => {
        for (let at = 1; at < args.length; at += 2) await keyspace.put(scope, args[at]!, args[at + 1]!, 0);
        reply.ok();
      });
    },
  },
  {
    ...about,
    name: "mget",
    arity: -2,
    flags: ["readonly", "fast"],
    keys: { first: 1, last: -1, step: 1 },
    run: ({ keyspace }, { session, args, reply }) => {
      reply.array(args.length - 1);
      for (const name of args.slice(1)) {
        const entry = keyspace.peek(session.scope, name);
        if (entry === null || typeof entry === "symbol") reply.null();
        else reply.bulk(entry.value);
      }
    },
  },
  {
    ...about,
    name: "copy",
    arity: -3,
    flags: ["write"],
    keys: { first: 1, last: 2, step: 1 },
    run: (_, { reply }) => reply.integer(0),
  },
  {
    ...about,
    name: "slowget",
    arity: 2,
    flags: ["readonly"],
    keys: key,
    run: ({ keyspace }, call) => {
      const { scope } = call.session;
      call.later(async (reply, [, name]) => {
        const entry = await keyspace.read(scope, name!);
        if (entry === null) reply.null();
        else reply.bulk(entry.value);
      });
    },
  },
];
