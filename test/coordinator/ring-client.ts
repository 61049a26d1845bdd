/** A client of one node of a `RingWorld`, as the front end and the commands would serve it: values and errors instead of RESP. */
import { type Consistency, parseConsistency } from "../../lib/coordinator/consistency.js";
import { type Entry, type Keyspace, NOT_IN_MEMORY, type Scope, type Sibling, STARTED } from "../../lib/coordinator/keyspace.js";
import { OperatingError } from "../../lib/errors.js";
import type { RingNode } from "./ring-node.js";

/** Commands that read, decide and write. */
export type TestCommand = "incr" | "setnx" | "append" | "msetnx";
type Result = number | string | null;

const DEFAULT: Consistency = { quorum: { kind: "level", level: "QUORUM" }, standIns: "sloppy", conflicts: "newest" };

/** The settings that CONSISTENCY's words stand for. */
export function consistencyOf(words: string): Consistency {
  if (words === "") return DEFAULT;
  const parsed = parseConsistency(words.split(" "), DEFAULT, 9);
  if (parsed.kind === "error") throw new Error(parsed.message);
  return parsed.consistency;
}

/** Runs a command on the node where it is decided. */
export async function perform(keyspace: Keyspace, scope: Scope, name: TestCommand, args: readonly string[]): Promise<Result> {
  let answer: Result = null;
  if (name === "msetnx") {
    const keys = args.filter((_, at) => at % 2 === 0).map((key) => Buffer.from(key, "latin1"));
    const values = args.filter((_, at) => at % 2 === 1);
    const scopes = keys.map(() => scope);
    await keyspace.updateMany(scopes, keys, (entries) => {
      const isFree = entries.every((entry) => entry === null);
      answer = isFree ? 1 : 0;
      return values.map((value) => (isFree ? { kind: "put", value, expiryMs: 0 } : { kind: "keep" }));
    });
    return answer;
  }
  await keyspace.update(scope, Buffer.from(args[0]!, "latin1"), (entry) => {
    switch (name) {
      case "incr": {
        answer = Number(entry?.value ?? 0) + 1;
        return { kind: "put", value: String(answer), expiryMs: entry?.expiryMs ?? 0 };
      }
      case "append": {
        const value = (entry?.value ?? "") + args[1]!;
        answer = value.length;
        return { kind: "put", value, expiryMs: entry?.expiryMs ?? 0 };
      }
      case "setnx":
        answer = entry === null ? 1 : 0;
        return entry === null ? { kind: "put", value: args[1]!, expiryMs: 0 } : { kind: "keep" };
    }
  });
  return answer;
}

export class RingClient {
  readonly node: RingNode;
  readonly scope: Scope;

  /** `words`: what it said to CONSISTENCY. */
  constructor(node: RingNode, words = "") {
    this.node = node;
    this.scope = { database: 0, consistency: consistencyOf(words), hold: null };
  }

  /** The same client at other settings. */
  at(words: string): RingClient {
    return new RingClient(this.node, words);
  }

  set(key: string, value: string, expiryMs = 0): Promise<void> {
    const { keyspace } = this.node;
    return this.#answered(() => {
      const bytes = Buffer.from(value, "latin1");
      return new Promise((resolve, reject) => {
        const sink = { onResult: resolve, onFailure: reject };
        const start = keyspace.startPut(this.scope, Buffer.from(key, "latin1"), bytes, expiryMs, sink);
        if (start === "done") resolve();
        else if (start === STARTED) bytes.fill(0xee);
        else keyspace.put(this.scope, Buffer.from(key, "latin1"), bytes, expiryMs).then(resolve, reject);
      });
    });
  }

  get(key: string): Promise<string | null> {
    const { keyspace } = this.node;
    return this.#answered(async () => {
      const entry = await new Promise<Entry | null>((resolve, reject) => {
        const sink = { onResult: resolve, onFailure: reject };
        const read = keyspace.startRead(this.scope, Buffer.from(key, "latin1"), sink);
        if (read === NOT_IN_MEMORY) keyspace.read(this.scope, Buffer.from(key, "latin1")).then(resolve, reject);
        else if (read !== STARTED) resolve(read);
      });
      return entry === null ? null : entry.value;
    });
  }

  del(key: string): Promise<boolean> {
    const { keyspace } = this.node;
    return this.#answered(async () => {
      const removed = keyspace.tryRemove(this.scope, Buffer.from(key, "latin1"));
      return removed === NOT_IN_MEMORY ? keyspace.remove(this.scope, Buffer.from(key, "latin1")) : removed;
    });
  }

  /** Values as SIBLINGS shows them, newest first, and the context to hand back; null where the key never existed. */
  async siblings(key: string): Promise<{ values: (string | null)[]; context: string; versions: readonly Sibling[] } | null> {
    const found = await this.#answered(() => this.node.keyspace.siblings(this.scope, Buffer.from(key, "latin1")));
    return found === null ? null : { values: found.versions.map(({ value }) => value), ...found };
  }

  /** The values alone. */
  async values(key: string): Promise<(string | null)[]> {
    return (await this.siblings(key))?.values ?? [];
  }

  setWithContext(key: string, value: string, context: string): Promise<void> {
    const { keyspace } = this.node;
    return this.#answered(() => {
      return keyspace.putWithContext(this.scope, Buffer.from(key, "latin1"), Buffer.from(value, "latin1"), 0, context);
    });
  }

  incr(key: string): Promise<number> {
    return this.#run("incr", [key]) as Promise<number>;
  }

  append(key: string, value: string): Promise<number> {
    return this.#run("append", [key, value]) as Promise<number>;
  }

  setnx(key: string, value: string): Promise<number> {
    return this.#run("setnx", [key, value]) as Promise<number>;
  }

  /** Keys and values. */
  msetnx(...args: string[]): Promise<number> {
    return this.#run("msetnx", args) as Promise<number>;
  }

  #run(name: TestCommand, words: readonly string[]): Promise<Result> {
    const { forwarding, keyspace } = this.node;
    const { scope } = this;
    const keys = name === "msetnx" ? words.filter((_, at) => at % 2 === 0) : [words[0]!];
    const targets = keys.map((key) => ({ scope, key: Buffer.from(key, "latin1") }));
    const isElsewhere = keys.length > 1 ? forwarding.areElsewhere(targets) : forwarding.isElsewhere(scope, targets[0]!.key);
    return this.#answered(async () => {
      if (!isElsewhere) return perform(keyspace, scope, name, words);
      const args = [name, ...words].map((word) => Buffer.from(word, "latin1"));
      const reply = await forwarding.forward({
        args,
        targets,
        protocol: 2,
        scope,
        repeats: keys.length > 1 ? "once at most" : "known by its id",
      });
      if (reply.startsWith("+")) return JSON.parse(reply.slice(1)) as Result;
      const [code, ...text] = reply.slice(1).split(" ");
      throw new OperatingError(code as "QUORUM", text.join(" "));
    });
  }

  /** A reply leaves once its turn is committed, and as durable as the policy asks. */
  async #answered<Answer>(work: () => Promise<Answer>): Promise<Answer> {
    const answer = await work();
    const { lsm } = this.node;
    await this.node.keyspace.committed();
    if (!lsm.isAcknowledged) await lsm.acknowledged();
    return answer;
  }
}
