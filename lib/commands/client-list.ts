/** How CLIENT LIST and CLIENT INFO show a connection, and how CLIENT LIST and CLIENT KILL choose some. Pure. */
import { integerOf, wordOf } from "./arguments.js";
import { USER } from "./authentication.js";
import type { ClientSession } from "./client-session.js";

/** One line, without its end. `request` is what the session is asking now, if it is the one that asks. */
export function clientLine(session: ClientSession, nowMs: number, request: readonly Uint8Array[] | null): string {
  const { control, transaction } = session;
  const argumentBytes = request?.reduce((sum, argument) => sum + argument.length, 0) ?? 0;
  // Whether the request that is running still counts as received is the front end's affair: it is shown in any case.
  const inputBytes = Math.max(control.inputBytes, request === null ? 0 : encodedLength(request));
  const queued = transaction?.queue.length ?? -1;
  const totalBytes = inputBytes + argumentBytes + control.outputBytes + (transaction?.queuedBytes ?? 0);
  const fields: readonly (readonly [string, string | number])[] = [
    ["id", session.id],
    ["addr", session.remoteAddress],
    ["laddr", session.localAddress],
    // Connections are not known by a descriptor here.
    ["fd", -1],
    ["name", session.name],
    ["age", secondsSince(session.createdMs, nowMs)],
    ["idle", request === null ? secondsSince(session.lastRequestMs, nowMs) : 0],
    ["flags", flagsOf(session)],
    ["db", session.scope.database],
    ["sub", 0],
    ["psub", 0],
    ["ssub", 0],
    ["multi", queued],
    ["qbuf", inputBytes],
    ["qbuf-free", 0],
    ["argv-mem", argumentBytes],
    ["multi-mem", transaction?.queuedBytes ?? 0],
    ["rbs", 0],
    ["rbp", 0],
    ["obl", control.outputBytes],
    ["oll", 0],
    ["omem", control.outputBytes],
    ["tot-mem", totalBytes],
    ["events", "r"],
    ["cmd", session.lastEntry?.fullName ?? "NULL"],
    ["user", USER],
    ["redir", -1],
    ["resp", session.protocol],
    ["lib-name", session.libraryName],
    ["lib-ver", session.libraryVersion],
  ];
  return fields.map(([name, value]) => `${name}=${value}`).join(" ");
}

function flagsOf(session: ClientSession): string {
  const flags = `${session.transaction === null ? "" : "x"}${session.isExemptFromEviction ? "e" : ""}${session.isExemptFromTouch ? "T" : ""}`;
  return flags === "" ? "N" : flags;
}

function secondsSince(thenMs: number, nowMs: number): number {
  return Math.max(0, Math.floor((nowMs - thenMs) / 1_000));
}

/** Bytes of the request as an array of bulk strings. */
function encodedLength(args: readonly Uint8Array[]): number {
  const digits = (count: number) => String(count).length;
  return args.reduce((sum, argument) => sum + digits(argument.length) + argument.length + 5, digits(args.length) + 3);
}

/** Which connections are meant. */
export interface ClientFilter {
  readonly ids: readonly number[] | null;
  readonly remoteAddress: string | null;
  readonly localAddress: string | null;
  readonly type: string | null;
  readonly skipsSelf: boolean;
}

/** Every connection. */
export const EVERYONE: ClientFilter = { ids: null, remoteAddress: null, localAddress: null, type: null, skipsSelf: false };

export function isChosen(session: ClientSession, filter: ClientFilter, self: ClientSession): boolean {
  if (filter.ids !== null && !filter.ids.includes(session.id)) return false;
  if (filter.remoteAddress !== null && session.remoteAddress !== filter.remoteAddress) return false;
  if (filter.localAddress !== null && session.localAddress !== filter.localAddress) return false;
  if (filter.type !== null && filter.type !== "normal") return false;
  return !(filter.skipsSelf && session === self);
}

/** Options of CLIENT KILL from `args[2]` on; a string is the error. */
export function parseKillFilter(args: readonly Uint8Array[]): ClientFilter | string {
  let filter: ClientFilter = { ...EVERYONE, skipsSelf: true };
  if (args.length % 2 !== 0) return "ERR syntax error";
  for (let at = 2; at < args.length; at += 2) {
    const value = args[at + 1]!;
    const text = Buffer.from(value).toString("latin1");
    switch (wordOf(args[at]!)) {
      case "ID": {
        const id = integerOf(value);
        if (id === null || id < 1) return "ERR client-id should be greater than 0";
        filter = { ...filter, ids: [id] };
        break;
      }
      case "ADDR":
        filter = { ...filter, remoteAddress: text };
        break;
      case "LADDR":
        filter = { ...filter, localAddress: text };
        break;
      case "TYPE": {
        const type = clientType(value);
        if (type === null) return `ERR Unknown client type '${text}'`;
        filter = { ...filter, type };
        break;
      }
      case "USER":
        if (text !== USER) return `ERR No such user '${text}'`;
        break;
      case "SKIPME": {
        const word = wordOf(value);
        if (word !== "YES" && word !== "NO") return "ERR syntax error";
        filter = { ...filter, skipsSelf: word === "YES" };
        break;
      }
      default:
        return "ERR syntax error";
    }
  }
  return filter;
}

/** Options of CLIENT LIST from `args[2]` on; a string is the error. */
export function parseListFilter(args: readonly Uint8Array[]): ClientFilter | string {
  if (args.length === 2) return EVERYONE;
  const word = wordOf(args[2]!);
  if (word === "TYPE" && args.length === 4) {
    const type = clientType(args[3]!);
    return type === null ? `ERR Unknown client type '${Buffer.from(args[3]!).toString("latin1")}'` : { ...EVERYONE, type };
  }
  if (word !== "ID" || args.length < 4) return "ERR syntax error";
  const ids: number[] = [];
  for (const argument of args.slice(3)) {
    const id = integerOf(argument);
    if (id === null) return "ERR Invalid client ID";
    ids.push(id);
  }
  return { ...EVERYONE, ids };
}

/** Only normal clients exist here, but the other types are valid to ask for. */
function clientType(argument: Uint8Array): string | null {
  const type = wordOf(argument).toLowerCase();
  if (type === "slave") return "replica";
  return ["normal", "master", "replica", "pubsub"].includes(type) ? type : null;
}
