/**
 * Random requests over few keys and telling values, for comparing two ways to run the same commands. Leaves out what may
 * rightly differ from a redis-server: the order of keys, times to the millisecond, sums that Redis rounds.
 */
import fc from "fast-check";

export type Request = readonly string[];

const key = fc.constantFrom("a", "b", "c");
const far = fc.constantFrom("99999999999", "88888888888");
const integer = fc.constantFrom(
  "0",
  "1",
  "-1",
  "7",
  "-3",
  "9007199254740993",
  "9223372036854775807",
  "-9223372036854775808",
  "9223372036854775808",
  "01",
  "+1",
  "x",
  "",
);
const decimal = fc.constantFrom("0", "1", "-1.5", "0.25", "1e2", "-2.5e-1", "x", "nan", "inf", " 1");
const value = fc.oneof(integer, decimal, fc.constantFrom("hello world", "\0\xff\r\n", "abcabba", "cbabac", "v"));
const seconds = fc.constantFrom("100", "5000", "100", "5000", "0", "-1", "x", "9223372036854775", "1.5");
const expiry = fc.oneof(
  fc.tuple(fc.constantFrom("EX", "ex"), seconds),
  fc.tuple(fc.constant("PX"), fc.constantFrom("100000", "0", "9223372036854775807")),
  fc.tuple(fc.constantFrom("EXAT", "ExAt"), fc.oneof(far, fc.constantFrom("1", "0"))),
  fc.tuple(fc.constant("PXAT"), fc.constantFrom("99999999999500", "1")),
);
const setOption = fc.oneof(fc.constantFrom(["NX"], ["XX"], ["GET"], ["get"], ["KEEPTTL"], ["EX"], ["FOO"]), expiry);
const getexOption = fc.oneof(fc.constantFrom(["PERSIST"], ["KEEPTTL"], ["EX"]), expiry);
/** Conditions on times from now would compare the clocks of the two sides. */
const presence = fc.constantFrom("NX", "XX", "nx", "FOO");
const order = fc.constantFrom("NX", "XX", "GT", "LT", "gt", "lt");
const lcsOption = fc.constantFrom(["LEN"], ["IDX"], ["idx"], ["WITHMATCHLEN"], ["MINMATCHLEN", "2"], ["MINMATCHLEN", "x"]);

const request: fc.Arbitrary<Request> = fc.oneof(
  command("SET", key, value),
  command("SET", key, value, many(setOption)),
  command("GET", key),
  command("SETEX", key, seconds, value),
  command("PSETEX", key, fc.constantFrom("100000", "0", "x"), value),
  command(fc.constantFrom("SETNX", "GETSET", "APPEND"), key, value),
  command(fc.constantFrom("GETDEL", "STRLEN", "TTL", "PERSIST", "TYPE", "INCR", "DECR"), key),
  command("GETEX", key, many(getexOption)),
  command(fc.constantFrom("MGET", "DEL", "UNLINK", "EXISTS", "TOUCH"), fc.array(key, { maxLength: 4 })),
  command(
    fc.constantFrom("MSET", "MSETNX"),
    fc.array(fc.oneof({ weight: 5, arbitrary: fc.tuple(key, value) }, { weight: 1, arbitrary: key.map((k) => [k]) }), {
      maxLength: 4,
    }),
  ),
  command(fc.constantFrom("INCRBY", "DECRBY"), key, integer),
  command(fc.constantFrom("GETRANGE", "SUBSTR"), key, integer, integer),
  command("SETRANGE", key, fc.constantFrom("0", "1", "3", "12", "-1", "x", "536870912"), value),
  command("LCS", key, key, many(lcsOption)),
  command("EXPIRE", key, seconds, fc.array(presence, { maxLength: 2 })),
  command("PEXPIRE", key, fc.constantFrom("100000", "-5", "9223372036854775807"), fc.array(presence, { maxLength: 2 })),
  command("EXPIREAT", key, far, fc.array(order, { maxLength: 2 })),
  command(fc.constantFrom("RENAME", "RENAMENX"), key, key),
  command("COPY", key, key, many(fc.constantFrom(["REPLACE"], ["DB", "1"], ["DB", "0"], ["DB", "x"], ["FOO"]))),
  command("MOVE", key, fc.constantFrom("1", "0", "16")),
);

/** Sequences of requests. */
export const requests: fc.Arbitrary<readonly Request[]> = fc.array(request, { minLength: 1, maxLength: 40 });

type Part = string | fc.Arbitrary<unknown>;

function command(...parts: Part[]): fc.Arbitrary<Request> {
  const words = parts.map((part) => (typeof part === "string" ? fc.constant(part) : part));
  return fc.tuple(...words).map((drawn) => (drawn.flat(2) as string[]).map(String));
}

function many(option: fc.Arbitrary<Request>): fc.Arbitrary<Request[]> {
  return fc.array(option, { maxLength: 3 });
}
