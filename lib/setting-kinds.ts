/**
 * The kinds of settings there are: how each is written, checked and printed. Which settings exist is config.ts's business.
 */
import { OperatingError, RefusedValue } from "./errors.js";

/** How a setting is written and checked. `parse` throws a `RefusedValue`, or `CONFIG` where Redis has no such setting. */
export interface Setting<Value> {
  /** As in flags, files and CONFIG GET. */
  readonly name: string;
  readonly default: Value;
  /** Why one would change it, with its unit. */
  readonly why: string;
  /** What a value looks like, for --help: `<bytes>`, `<word>`. */
  readonly shape: string;
  /** The only values there are, or none where there are too many to list. */
  readonly words: readonly string[];
  /** May CONFIG SET change it while the node runs? */
  readonly change: "at start" | "at run time";
  readonly parse: (text: string) => Value;
  /** As CONFIG GET prints it. */
  readonly format: (value: Value) => string;
}

/** What one of the 16 databases has of its own. */
export interface DatabaseSettings {
  readonly consistency?: string;
  readonly conflicts?: string;
}

const KB = 1_024;
const MB = 1_024 * KB;
const GB = 1_024 * MB;

/** What every kind is given. */
export interface Described {
  readonly name: string;
  readonly why: string;
  readonly change?: "at run time";
}

export function text(options: Described & { default: string }): Setting<string> {
  return {
    ...described(options),
    default: options.default,
    shape: "<text>",
    parse: (value) => value,
    format: (value) => value,
  };
}

export function flag(options: Described & { default: boolean }): Setting<boolean> {
  const parse = (value: string): boolean => {
    const word = value.toLowerCase();
    if (word === "yes" || word === "true") return true;
    if (word === "no" || word === "false") return false;
    throw new RefusedValue("must be yes or no", "argument must be 'yes' or 'no'");
  };
  return {
    ...described(options),
    default: options.default,
    words: ["yes", "no"],
    shape: "<yes|no>",
    parse,
    format: (value) => (value ? "yes" : "no"),
  };
}

export function choice<const Value extends string>(
  options: Described & { default: NoInfer<Value>; values: readonly Value[] },
): Setting<Value> {
  const parse = (value: string): Value => {
    const found = options.values.find((allowed) => allowed.toLowerCase() === value.toLowerCase());
    if (found !== undefined) return found;
    const allowed = options.values.join(", ");
    throw new RefusedValue(`must be one of ${allowed}`, `argument(s) must be one of the following: ${allowed}`);
  };
  return {
    ...described(options),
    default: options.default,
    words: options.values,
    shape: "<word>",
    parse,
    format: (value) => value,
  };
}

const DATABASES = 16;

/** A JSON object from database numbers to what each has of its own; `own` are the settings that a database may have. */
export function perDatabase(
  options: Described & {
    default: ReadonlyMap<number, DatabaseSettings>;
    own: readonly Pick<Setting<string>, "name" | "parse">[];
  },
): Setting<ReadonlyMap<number, DatabaseSettings>> {
  const names = options.own.map((setting) => setting.name);
  const problem = (): OperatingError =>
    new OperatingError("CONFIG", `must be a JSON object of databases (0 to ${DATABASES - 1}), each with ${names.join(" or ")}`);
  const parseOne = (database: string, own: unknown): DatabaseSettings => {
    if (!isObject(own)) throw problem();
    const checked: Record<string, string> = {};
    for (const [name, value] of Object.entries(own)) {
      const setting = options.own.find((allowed) => allowed.name === name);
      if (setting === undefined || typeof value !== "string") throw problem();
      try {
        checked[name] = setting.parse(value);
      } catch (error) {
        if (!(error instanceof RefusedValue)) throw error;
        throw new OperatingError("CONFIG", `in database ${database}, ${name} ${error.message}, not '${value}'`);
      }
    }
    return checked;
  };
  const parse = (value: string): ReadonlyMap<number, DatabaseSettings> => {
    const parsed = parseJson(value);
    if (!isObject(parsed)) throw problem();
    const result = new Map<number, DatabaseSettings>();
    for (const [database, own] of Object.entries(parsed)) {
      if (!/^\d+$/.test(database) || Number(database) >= DATABASES) throw problem();
      result.set(Number(database), parseOne(database, own));
    }
    return result;
  };
  const format = (value: ReadonlyMap<number, DatabaseSettings>): string => JSON.stringify(Object.fromEntries(value));
  return { ...described(options), default: options.default, shape: "<json>", parse, format };
}

function parseJson(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

/** Bytes that may stay unread: at once, and for so many seconds. 0: no limit. */
export interface OutputLimit {
  readonly hardBytes: number;
  readonly softBytes: number;
  readonly softSeconds: number;
}

/** By Redis's classes of clients; so far all clients are normal ones. */
export interface OutputLimits {
  readonly normal: OutputLimit;
  readonly slave: OutputLimit;
  readonly pubsub: OutputLimit;
}

/** `normal 256mb 0 0 pubsub 32mb 8mb 60`: a class that is not named has its default. */
export function outputLimits(options: Described & { default: OutputLimits }): Setting<OutputLimits> {
  const problem = (redisReason: string): RefusedValue =>
    new RefusedValue(
      "must be classes (normal, slave, pubsub) each with <hard bytes> <soft bytes> <soft seconds>",
      `${redisReason} buffer limit configuration.`,
    );
  const parse = (value: string): OutputLimits => {
    const words = value.trim().split(/\s+/);
    if (words.length % 4 !== 0) throw problem("Wrong number of arguments in");
    const limits: { -readonly [Class in keyof OutputLimits]: OutputLimit } = { ...options.default };
    for (let at = 0; at < words.length; at += 4) {
      const name = words[at]!.toLowerCase() === "replica" ? "slave" : words[at]!.toLowerCase();
      if (name !== "normal" && name !== "slave" && name !== "pubsub") throw problem("Invalid client class specified in");
      const [hardBytes, softBytes] = [bytesOf(words[at + 1]!), bytesOf(words[at + 2]!)];
      const softSeconds = /^\d+$/.test(words[at + 3]!) ? Number(words[at + 3]) : Number.NaN;
      if (!(hardBytes >= 0 && softBytes >= 0 && softSeconds >= 0)) {
        throw problem("Error in hard, soft or soft_seconds setting in");
      }
      limits[name] = { hardBytes, softBytes, softSeconds };
    }
    return limits;
  };
  const format = (limits: OutputLimits): string =>
    Object.entries(limits)
      .map(([name, limit]: [string, OutputLimit]) => `${name} ${limit.hardBytes} ${limit.softBytes} ${limit.softSeconds}`)
      .join(" ");
  return { ...described(options), default: options.default, shape: "<limits>", parse, format };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The parts of a setting that are as they were given. */
export function described(options: Described): Pick<Setting<never>, "name" | "why" | "words" | "change"> {
  return { name: options.name, why: options.why, words: [], change: options.change ?? "at start" };
}

interface Range {
  readonly default: number;
  readonly min: number;
  readonly max: number;
}

function outOfRange({ min, max }: Range): string {
  return `argument must be between ${min} and ${max} inclusive`;
}

export function integer(options: Described & Range): Setting<number> {
  const parse = (value: string): number => {
    const number = /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= options.min && number <= options.max)) {
      const reason = Number.isNaN(number) ? "argument couldn't be parsed into an integer" : outOfRange(options);
      throw new RefusedValue(`must be a whole number from ${options.min} to ${options.max}`, reason);
    }
    return number;
  };
  return { ...described(options), default: options.default, shape: "<number>", parse, format: String };
}

const units: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["b", 1],
  ["k", 1_000],
  ["kb", KB],
  ["m", 1_000_000],
  ["mb", MB],
  ["g", 1_000_000_000],
  ["gb", GB],
]);

export function bytes(options: Described & Range): Setting<number> {
  const parse = (value: string): number => {
    const number = bytesOf(value);
    if (!(number >= options.min && number <= options.max)) {
      const reason = Number.isNaN(number) ? "argument must be a memory value" : outOfRange(options);
      throw new RefusedValue(`must be bytes from ${options.min} to ${options.max} (units: kb, mb, gb)`, reason);
    }
    return number;
  };
  return { ...described(options), default: options.default, shape: "<bytes>", parse, format: String };
}

/** Bytes with one of Redis's units (`1kb` is 1024, `1k` is 1000); NaN when they are none. */
function bytesOf(value: string): number {
  const match = /^(\d+)([a-z]*)$/.exec(value.toLowerCase());
  const scale = match ? units.get(match[2]!) : undefined;
  return match && scale !== undefined ? Number(match[1]) * scale : Number.NaN;
}
