/**
 * One script for every client library: it uses each command family through the client's raw call and knows each reply. What
 * clients make of a reply differs (maps as objects, `OK` as true), so replies are compared in one plain shape.
 */
import { expect } from "chai";

/** Sends one command as it is. An error reply is a rejection. */
export type RawCall = (...args: readonly string[]) => Promise<unknown>;

export type Plain = string | number | null | readonly Plain[];

/** Maps become flat lists of names and values, as RESP2 has them; texts are latin1. */
export function plain(reply: unknown): Plain {
  if (reply === null || reply === undefined) return null;
  if (typeof reply === "string" || typeof reply === "number") return reply;
  if (typeof reply === "bigint") return Number(reply);
  if (typeof reply === "boolean") return reply ? 1 : 0;
  if (reply instanceof Uint8Array) return Buffer.from(reply).toString("latin1");
  if (reply instanceof Error) return `error: ${reply.message}`;
  if (Array.isArray(reply)) return reply.map(plain);
  if (reply instanceof Map) return [...reply].flatMap(([name, value]) => [plain(name), plain(value)]);
  if (typeof reply === "object") return Object.entries(reply).flatMap(([name, value]) => [name, plain(value)]);
  throw new Error(`no reply looks like ${typeof reply}`);
}

/** What is not the same on every server. */
export interface TourSizes {
  readonly n: number;
  /** R and W at QUORUM. */
  readonly quorum: number;
  /** Whether commands that list keys are among those used. */
  readonly keys?: "listed" | "not listed";
}

/** Runs the script. Keys begin with `prefix`, so that tours may run one after the other on one server. */
export async function tour(raw: RawCall, prefix: string, sizes: TourSizes = { n: 1, quorum: 1 }): Promise<void> {
  const call = async (...args: readonly string[]): Promise<Plain> => plain(await raw(...args));
  const refusal = async (...args: readonly string[]): Promise<string> => {
    const reply = await raw(...args).then(plain, (error: Error) => `error: ${error.message}`);
    expect(reply, args.join(" ")).to.match(/^error: /);
    return String(reply).slice("error: ".length);
  };
  const key = (name: string): string => `${prefix}:${name}`;
  await strings(call, key);
  await counters(call, refusal, key);
  await expiry(call, key);
  if (sizes.keys !== "not listed") await keysAndScan(call, key);
  await transactions(call, refusal, key);
  await nodeAndClient(call, refusal);
  await consistency(call, refusal, key, sizes);
}

type Call = (...args: readonly string[]) => Promise<Plain>;
type Refusal = (...args: readonly string[]) => Promise<string>;
type Key = (name: string) => string;

async function strings(call: Call, key: Key): Promise<void> {
  expect(await call("SET", key("s"), "hello")).to.equal("OK");
  expect(await call("GET", key("s"))).to.equal("hello");
  expect(await call("SET", key("s"), "x", "NX")).to.equal(null);
  expect(await call("SET", key("s"), "world", "XX", "GET")).to.equal("hello");
  expect(await call("APPEND", key("s"), "!")).to.equal(6);
  expect(await call("STRLEN", key("s"))).to.equal(6);
  expect(await call("GETRANGE", key("s"), "1", "-2")).to.equal("orld");
  expect(await call("SETRANGE", key("s"), "0", "W")).to.equal(6);
  expect(await call("GETSET", key("s"), "new")).to.equal("World!");
  expect(await call("GETDEL", key("s"))).to.equal("new");
  expect(await call("MSET", key("a"), "ohmytext", key("b"), "mynewtext")).to.equal("OK");
  expect(await call("MSETNX", key("a"), "1", key("new"), "2")).to.equal(0);
  expect(await call("MGET", key("a"), key("absent"), key("b"))).to.deep.equal(["ohmytext", null, "mynewtext"]);
  expect(await call("LCS", key("a"), key("b"))).to.equal("mytext");
  const binary = String.fromCharCode(...Array.from({ length: 128 }, (_, at) => at));
  expect(await call("SET", key("binary"), binary)).to.equal("OK");
  expect(await call("GET", key("binary"))).to.equal(binary);
  expect(await call("SET", key("empty"), "")).to.equal("OK");
  expect(await call("GET", key("empty"))).to.equal("");
}

async function counters(call: Call, refusal: Refusal, key: Key): Promise<void> {
  expect(await call("INCR", key("n"))).to.equal(1);
  expect(await call("INCRBY", key("n"), "41")).to.equal(42);
  expect(await call("DECR", key("n"))).to.equal(41);
  expect(await call("DECRBY", key("n"), "50")).to.equal(-9);
  expect(await call("INCRBYFLOAT", key("n"), "0.5")).to.equal("-8.5");
  expect(await refusal("INCR", key("n"))).to.include("value is not an integer or out of range");
}

async function expiry(call: Call, key: Key): Promise<void> {
  expect(await call("SET", key("e"), "v", "EX", "100")).to.equal("OK");
  expect(await call("TTL", key("e"))).to.be.within(99, 100);
  expect(await call("PERSIST", key("e"))).to.equal(1);
  expect(await call("TTL", key("e"))).to.equal(-1);
  expect(await call("PEXPIRE", key("e"), "50000", "NX")).to.equal(1);
  expect(await call("PTTL", key("e"))).to.be.within(40_000, 50_000);
  expect(await call("EXPIREAT", key("e"), "4000000000")).to.equal(1);
  expect(await call("EXPIRETIME", key("e"))).to.equal(4_000_000_000);
  expect(await call("GETEX", key("e"), "PERSIST")).to.equal("v");
  expect(await call("EXPIRE", key("e"), "-1")).to.equal(1);
  expect(await call("GET", key("e"))).to.equal(null);
  expect(await call("TTL", key("e"))).to.equal(-2);
}

async function keysAndScan(call: Call, key: Key): Promise<void> {
  const names = Array.from({ length: 50 }, (_, at) => key(`scan${at}`));
  expect(await call("MSET", ...names.flatMap((name) => [name, "v"]))).to.equal("OK");
  const seen = new Set<Plain>();
  let cursor: Plain = "0";
  do {
    const page = (await call("SCAN", String(cursor), "MATCH", key("scan*"), "COUNT", "7")) as readonly [
      Plain,
      readonly Plain[],
    ];
    for (const name of page[1]) seen.add(name);
    cursor = page[0];
  } while (String(cursor) !== "0");
  expect([...seen].sort()).to.deep.equal([...names].sort());
  expect(((await call("KEYS", key("scan*"))) as readonly Plain[]).length).to.equal(50);
  expect(await call("EXISTS", names[0]!, names[1]!, key("absent"))).to.equal(2);
  expect(await call("TYPE", names[0]!)).to.equal("string");
  expect(await call("COPY", names[0]!, key("copy"))).to.equal(1);
  expect(await call("RENAME", key("copy"), key("renamed"))).to.equal("OK");
  expect(await call("OBJECT", "ENCODING", key("renamed"))).to.equal("embstr");
  expect(await call("TOUCH", names[0]!)).to.equal(1);
  expect(await call("DEL", ...names)).to.equal(50);
  expect(await call("UNLINK", key("renamed"), key("absent"))).to.equal(1);
  expect(await call("DBSIZE")).to.be.at.least(3);
}

async function transactions(call: Call, refusal: Refusal, key: Key): Promise<void> {
  expect(await call("WATCH", key("m"))).to.equal("OK");
  expect(await call("MULTI")).to.equal("OK");
  expect(await call("SET", key("m"), "1")).to.equal("QUEUED");
  expect(await call("INCR", key("m"))).to.equal("QUEUED");
  expect(await call("GET", key("m"))).to.equal("QUEUED");
  expect(await call("EXEC")).to.deep.equal(["OK", 2, "2"]);
  expect(await call("MULTI")).to.equal("OK");
  expect(await call("DISCARD")).to.equal("OK");
  expect(await refusal("EXEC")).to.include("EXEC without MULTI");
}

async function nodeAndClient(call: Call, refusal: Refusal): Promise<void> {
  expect(await call("PING")).to.equal("PONG");
  expect(await call("ECHO", "text")).to.equal("text");
  expect(await call("INFO", "server")).to.include("redis_version:7.2.4");
  expect(await call("INFO"))
    .to.include("# Storage")
    .and.to.include("# Keyspace");
  expect(await call("CONFIG", "GET", "maxclients")).to.deep.equal(["maxclients", "10000"]);
  expect(await call("CONFIG", "SET", "siblings-max", "63")).to.equal("OK");
  expect(await call("CONFIG", "GET", "siblings-max")).to.deep.equal(["siblings-max", "63"]);
  expect(await refusal("CONFIG", "SET", "siblings-max", "0")).to.include("siblings-max");
  expect(await call("CLIENT", "SETNAME", "tourist")).to.equal("OK");
  expect(await call("CLIENT", "GETNAME")).to.equal("tourist");
  expect(await call("CLIENT", "LIST")).to.include("name=tourist");
  expect(await call("CLIENT", "ID")).to.be.above(0);
  expect(await call("COMMAND", "COUNT")).to.be.above(50);
  expect(await call("COMMAND", "GETKEYS", "CONSISTENCY", "ONE", "MSET", "a", "1", "b", "2")).to.deep.equal(["a", "b"]);
  expect(await call("SLOWLOG", "LEN")).to.be.at.least(0);
  expect((await call("TIME")) as readonly Plain[]).to.have.length(2);
  expect(await refusal("NOSUCHCOMMAND", "a")).to.include("unknown command 'NOSUCHCOMMAND'");
  expect(await refusal("GET")).to.include("wrong number of arguments for 'get' command");
  expect(await refusal("CLIENT", "TRACKING", "ON")).to.include("TRACKING");
}

async function consistency(call: Call, refusal: Refusal, key: Key, { n, quorum }: TourSizes): Promise<void> {
  const settings = (await call("CONSISTENCY")) as readonly Plain[];
  expect(settings.slice(0, 8)).to.deep.equal(["level", "QUORUM", "n", n, "r", quorum, "w", quorum]);
  expect(await call("CONSISTENCY", "ALL", "STRICT")).to.equal("OK");
  expect(((await call("CONSISTENCY")) as readonly Plain[]).slice(1, 2)).to.deep.equal(["ALL"]);
  expect(await call("CONSISTENCY", "ONE", "SET", key("c"), "0")).to.equal("OK");
  expect(await call("CONSISTENCY", "ONE", "GET", key("c"))).to.equal("0");
  expect(await refusal("CONSISTENCY", "SOME")).to.be.a("string");

  // Two writers that have both seen the same version: the second does not overwrite the first.
  const { context } = siblingsIn(await call("SIBLINGS", key("c")));
  expect(await call("SET", key("c"), "one", "CONTEXT", context)).to.equal("OK");
  expect(await call("SET", key("c"), "two", "CONTEXT", context)).to.equal("OK");
  const both = siblingsIn(await call("SIBLINGS", key("c")));
  expect([...both.values].sort()).to.deep.equal(["one", "two"]);
  expect(await call("CONSISTENCY", "CONFLICTS", "ERROR")).to.equal("OK");
  expect(await refusal("GET", key("c"))).to.include("CONFLICT 2 siblings");
  expect(await call("SIBLINGS", key("c"), "RESOLVE", both.context, "one and two")).to.equal("OK");
  expect(await call("GET", key("c"))).to.equal("one and two");
  expect(siblingsIn(await call("SIBLINGS", key("c"))).values).to.deep.equal(["one and two"]);
  expect(await refusal("SET", key("other"), "x", "CONTEXT", context)).to.include("context is not of this key");
  expect(await call("SIBLINGS", key("absent"))).to.equal(null);
  expect(await call("CONSISTENCY", "QUORUM", "SLOPPY", "CONFLICTS", "NEWEST")).to.equal("OK");
}

/** SIBLINGS's reply in either protocol. */
export function siblingsIn(reply: Plain): { readonly context: string; readonly values: readonly Plain[] } {
  const list = reply as readonly Plain[];
  const isNamed = list[0] === "context";
  const versions = list[isNamed ? 3 : 1] as readonly (readonly Plain[])[];
  return { context: String(list[isNamed ? 1 : 0]), values: versions.map((version) => version[isNamed ? 1 : 0]!) };
}
