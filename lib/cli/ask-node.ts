/** One question to one running node, over the protocol that clients use. Every failure is one line that says what to do. */
import type { Redis } from "ioredis";
import { messageOf, OperatingError } from "../errors.js";

export interface NodeTarget {
  readonly host: string;
  readonly port: number;
  /** Null or empty: none is sent. */
  readonly password: string | null;
  readonly database: number;
  /** PEM texts. Null: in the clear; null in it: the authorities that Node trusts, and no certificate. */
  readonly tls: { readonly ca: string | null; readonly cert: string | null; readonly key: string | null } | null;
}

const CONNECT_MS_MAX = 5_000;
/** More than the time that a node gives those it asks itself. */
const ANSWER_MS_MAX = 15_000;

/** Sends a command that answers JSON and resolves with what it holds. Rejects with an `OperatingError` (UNAVAILABLE). */
export function askNode(target: NodeTarget, request: readonly [string, ...string[]]): Promise<unknown> {
  return send(target, request, parsed);
}

/** Sends a command that answers OK; resolves with what it says besides, or nothing. Rejects with an `OperatingError` (UNAVAILABLE). */
export function tellNode(target: NodeTarget, request: readonly [string, ...string[]]): Promise<string> {
  return send(target, request, (reply) => {
    if (typeof reply !== "string" || !/^OK($|, but )/.test(reply)) throw new Error("no OK");
    return reply.slice("OK, but ".length);
  });
}

async function send<Result>(
  target: NodeTarget,
  request: readonly [string, ...string[]],
  understood: (reply: unknown) => Result,
): Promise<Result> {
  const address = `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  // Only where it is needed: it derives a class from String, after which V8 looks up the methods of all strings slowly.
  const { Redis: Client } = await import("ioredis");
  const client = new Client({
    host: target.host,
    port: target.port,
    protocol: 2,
    lazyConnect: true,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    disableClientInfo: true,
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_MS_MAX,
    commandTimeout: ANSWER_MS_MAX,
    ...(target.tls !== null && { tls: tlsOf(target.tls) }),
  });
  // Why a connection failed is told by this event only.
  let broken: Error | null = null;
  client.on("error", (error: Error) => {
    broken ??= error;
  });
  try {
    await client.connect();
    await logIn(client, target);
    if (target.database !== 0) await client.call("SELECT", String(target.database));
    const [name, ...args] = request;
    return understood(await client.call(name, ...args));
  } catch (error) {
    throw new OperatingError("UNAVAILABLE", explained(address, request, broken ?? error), { cause: error });
  } finally {
    client.disconnect();
  }
}

function tlsOf({ ca, cert, key }: NonNullable<NodeTarget["tls"]>): { ca?: string; cert?: string; key?: string } {
  return { ...(ca !== null && { ca }), ...(cert !== null && { cert }), ...(key !== null && { key }) };
}

/** A node without a password takes any: an environment that has one for another node is no mistake. */
async function logIn(client: Redis, { password }: NodeTarget): Promise<void> {
  if (password === null || password === "") return;
  try {
    await client.call("AUTH", password);
  } catch (error) {
    if (!messageOf(error).includes("without any password configured")) throw error;
  }
}

function parsed(reply: unknown): unknown {
  if (typeof reply !== "string") throw new Error("no text");
  const value: unknown = JSON.parse(reply);
  if (typeof value !== "object" || value === null) throw new Error("no JSON object");
  return value;
}

function explained(address: string, request: readonly string[], error: unknown): string {
  const text = messageOf(error).replace(/\s+/g, " ").trim();
  if (text.includes("ECONNREFUSED")) {
    return `nothing listens on ${address}: is the node running, and are --port and --host-address those it was started with?`;
  }
  if (/ENOTFOUND|EAI_AGAIN/.test(text)) return `there is no address called ${address} (--host-address)`;
  if (/ETIMEDOUT|timed out/.test(text)) return `${address} did not answer in time`;
  if (/certificate|altnames/i.test(text)) return `${address} is not trusted: ${text} (--tls-ca names the authority to trust)`;
  if (/^connect E/.test(text)) return `${address} cannot be reached (${text})`;
  if (/Connection is closed|ECONNRESET|EPIPE/.test(text))
    return `${address} closed the connection: is that its port for clients, and does it speak TLS (--tls, --tls-ca)? Its log says more`;
  if (text.startsWith("NOAUTH")) return `${address} wants a password: give --password or set KINDRED_REQUIREPASS`;
  if (text.startsWith("WRONGPASS")) return `${address} refuses the password (--password or KINDRED_REQUIREPASS)`;
  if (/unknown (sub)?command|cluster support disabled/i.test(text)) {
    return `${address} does not know ${request.slice(0, 2).join(" ")}: it is an older Kindred, or no Kindred`;
  }
  // An error reply begins with its code; anything else is about the bytes of the answer.
  return /^[A-Z]+ /.test(text)
    ? `${address} answers: ${text}`
    : `what ${address} sends is no answer of a Kindred node (${text})`;
}
