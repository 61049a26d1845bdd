/**
 * The kinds of settings that only a cluster needs: addresses, labels, weights and numbers of copies. Redis has none of them, so
 * a value that is refused is refused in our own words.
 */
import { OperatingError } from "./errors.js";
import { type Described, described, type Setting } from "./setting-kinds.js";

const PORT_MAX = 65_535;
/** Of names, labels and hosts: what a member's entry and the ring document hold. */
const NAME_BYTES_MAX = 255;
const LABEL_LENGTH_MAX = 63;
const ADDRESSES_MAX = 256;
/** The greeting between members names them all. */
const DCS_MAX = 32;
const REPLICAS_MAX = 255;
const REPLICAS_DEFAULT = 3;
const WEIGHT_MIN = 0.01;
const WEIGHT_MAX = 1_000;

/** Where a node listens for others. */
export interface Address {
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
}

/** How many copies each data centre keeps: `dcs` by name, sorted, and `default` in those not named. */
export interface CopyCounts {
  /** From 1. */
  readonly default: number;
  readonly dcs: readonly { readonly dc: string; readonly replicas: number }[];
}

/** A port, or the word `auto` for one that is derived from another setting. */
export function autoPort(options: Described): Setting<number | "auto"> {
  const parse = (value: string): number | "auto" => {
    if (value.toLowerCase() === "auto") return "auto";
    const port = wholeOf(value);
    if (!(port >= 0 && port <= PORT_MAX)) throw refused(`must be auto or a whole number from 0 to ${PORT_MAX}`);
    return port;
  };
  return { ...described(options), default: "auto", shape: "<number|auto>", parse, format: String };
}

/** Text of at most 255 bytes without line breaks; empty where there is none. */
export function name(options: Described): Setting<string> {
  const parse = (value: string): string => {
    if (Buffer.byteLength(value) > NAME_BYTES_MAX || /[\r\n\0]/.test(value)) {
      throw refused(`must be one line of at most ${NAME_BYTES_MAX} bytes`);
    }
    return value;
  };
  return { ...described(options), default: "", shape: "<text>", parse, format: (value) => value };
}

/** A host name or an IP address, or nothing. */
export function hostName(options: Described): Setting<string> {
  const parse = (value: string): string => {
    if (!/^[^\s,[\]]*$/.test(value) || Buffer.byteLength(value) > NAME_BYTES_MAX) {
      throw refused("must be a host name or an IP address");
    }
    return value;
  };
  return { ...described(options), default: "", shape: "<address>", parse, format: (value) => value };
}

/** A word that members share to say that they stand in one place. Empty only where that is the default. */
export function label(options: Described & { default: string }): Setting<string> {
  const parse = (value: string): string => {
    const isAllowed = value === "" ? options.default === "" : LABEL.test(value);
    if (!isAllowed) throw refused(LABEL_RULE);
    return value;
  };
  return { ...described(options), default: options.default, shape: "<label>", parse, format: (value) => value };
}

const LABEL = new RegExp(`^[\\w.-]{1,${LABEL_LENGTH_MAX}}$`);
const LABEL_RULE = `must be 1 to ${LABEL_LENGTH_MAX} letters, digits, dots, dashes and underscores`;

/** `10.0.0.1:16379,db-2:16379,[::1]:16379`: each listed once, in the order given. */
export function addresses(options: Described): Setting<readonly Address[]> {
  const parse = (value: string): readonly Address[] => {
    const found = new Map<string, Address>();
    const words = value.trim() === "" ? [] : value.split(",").map((word) => word.trim());
    for (const word of words) {
      const match = /^(?:\[([^\s[\]]+)\]|([^\s:[\]]+)):(\d+)$/.exec(word);
      const host = match?.[1] ?? match?.[2] ?? "";
      const port = wholeOf(match?.[3] ?? "");
      if (!(port >= 1 && port <= PORT_MAX) || Buffer.byteLength(host) > NAME_BYTES_MAX) {
        throw refused(
          `must be host:port,host:port,... with ports from 1 to ${PORT_MAX}; '${word}' is none of them in '${value}'`,
        );
      }
      found.set(addressText({ host, port }), { host, port });
    }
    if (found.size > ADDRESSES_MAX) throw refused(`must be at most ${ADDRESSES_MAX} addresses`);
    return [...found.values()];
  };
  return {
    ...described(options),
    default: [],
    shape: "<host:port,...>",
    parse,
    format: (value) => value.map(addressText).join(","),
  };
}

function addressText({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** How much a member takes, in steps of 0.01. */
export function weight(options: Described): Setting<number> {
  const parse = (value: string): number => {
    const number = /^\d+(\.\d{1,2})?$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= WEIGHT_MIN && number <= WEIGHT_MAX)) {
      throw refused(`must be a number from ${WEIGHT_MIN} to ${WEIGHT_MAX} in steps of 0.01`);
    }
    return number;
  };
  return { ...described(options), default: 1, shape: "<number>", parse, format: String };
}

/** `3`, `dc1:3,dc2:2`, or `3,dc2:2`: a number alone is for all data centres that are not named. */
export function copyCounts(options: Described): Setting<CopyCounts> {
  const problem = refused(
    `must be a number of copies such as 3, or data centres such as dc1:3,dc2:2, with numbers from 1 (0 in a data centre) to ${REPLICAS_MAX}`,
  );
  const parse = (value: string): CopyCounts => {
    let common: number | null = null;
    const dcs = new Map<string, number>();
    for (const word of value.split(",").map((part) => part.trim())) {
      const [first = "", second, ...rest] = word.split(":");
      const count = wholeOf(second ?? first);
      if (!(count >= (second === undefined ? 1 : 0) && count <= REPLICAS_MAX) || rest.length > 0) throw problem;
      if (second === undefined) {
        if (common !== null) throw problem;
        common = count;
      } else {
        if (!LABEL.test(first) || dcs.has(first)) throw problem;
        dcs.set(first, count);
      }
    }
    if (dcs.size > DCS_MAX) throw refused(`must name at most ${DCS_MAX} data centres`);
    const named = [...dcs].map(([dc, replicas]) => ({ dc, replicas })).sort((a, b) => (a.dc < b.dc ? -1 : 1));
    return { default: common ?? REPLICAS_DEFAULT, dcs: named };
  };
  return {
    ...described(options),
    default: { default: REPLICAS_DEFAULT, dcs: [] },
    shape: "<copies>",
    parse,
    format: copyCountsText,
  };
}

function copyCountsText(counts: CopyCounts): string {
  const named = counts.dcs.map(({ dc, replicas }) => `${dc}:${replicas}`);
  const isSaid = named.length === 0 || counts.default !== REPLICAS_DEFAULT;
  return [...(isSaid ? [`${counts.default}`] : []), ...named].join(",");
}

/** NaN where it is no whole number. */
function wholeOf(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
}

function refused(rule: string): OperatingError {
  return new OperatingError("CONFIG", rule);
}
