/** What requests are told that name no command, a command of a later version, or the wrong number of arguments. Pure. */
import { latin1Of } from "../bytes/latin1.js";
import type { TableEntry } from "./command-table.js";

/** The name as typed and the arguments shown are each cut at this many bytes, as in Redis. */
const SHOWN_BYTES_MAX = 128;

/**
 * Commands of Redis that are not here yet, by what they belong to. Clients that probe match on `unknown command`, which
 * the answer therefore contains; COMMAND does not list them.
 */
const absent: ReadonlyMap<string, string> = absentCommands({
  "publish and subscribe": "subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe publish spublish pubsub",
  "the monitor stream": "monitor",
  scripting: "eval eval_ro evalsha evalsha_ro fcall fcall_ro",
  "dumps of values": "dump restore migrate",
  sorting: "sort sort_ro",
  "replication by a primary": "replicaof slaveof failover sync psync replconf",
  "rewriting of its log on demand": "bgrewriteaof",
  "waiting for other nodes' disks": "waitaof",
  bitmaps: "setbit getbit bitcount bitpos bitop bitfield bitfield_ro",
  hashes: "hset hsetnx hget hmset hmget hdel hlen hstrlen hkeys hvals hgetall hexists hincrby hincrbyfloat hrandfield hscan",
  lists:
    "lpush rpush lpushx rpushx lpop rpop llen lindex lset lrange ltrim linsert lrem lpos lmove rpoplpush lmpop blpop brpop blmove brpoplpush blmpop",
  sets: "sadd srem smembers sismember smismember scard spop srandmember smove sinter sinterstore sintercard sunion sunionstore sdiff sdiffstore sscan",
  "sorted sets":
    "zadd zincrby zrem zscore zmscore zcard zcount zlexcount zrange zrangestore zrangebyscore zrevrangebyscore zrangebylex zrevrangebylex zrevrange zrank zrevrank zpopmin zpopmax bzpopmin bzpopmax zmpop bzmpop zunion zunionstore zinter zinterstore zintercard zdiff zdiffstore zremrangebyrank zremrangebyscore zremrangebylex zrandmember zscan",
  streams: "xadd xlen xrange xrevrange xread xreadgroup xgroup xack xclaim xautoclaim xpending xinfo xdel xtrim xsetid",
  "geographic indexes":
    "geoadd geodist geohash geopos geosearch geosearchstore georadius georadius_ro georadiusbymember georadiusbymember_ro",
  "cardinality estimates": "pfadd pfcount pfmerge pfdebug pfselftest",
});

const absentSubcommands: ReadonlyMap<string, string> = new Map([
  ["cluster meet", "a node joins by itself when it is started with --seeds"],
  ["cluster forget", "CLUSTER REMOVE takes out a member that is gone for good, CLUSTER LEAVE one that runs"],
  ["cluster replicate", "any node answers any key: there are no masters and no replicas of them"],
  ["acl setuser", "Kindred does not have users yet"],
  ["acl deluser", "Kindred does not have users yet"],
]);

/** The error for a name that the table does not have. */
export function unknownCommandText(args: readonly Uint8Array[]): string {
  const name = latin1Of(args[0]!, 0, Math.min(args[0]!.length, SHOWN_BYTES_MAX));
  const family = absent.get(name.toLowerCase());
  if (family !== undefined) return `ERR unknown command '${name}': Kindred does not have ${family} yet`;
  let shown = "";
  for (let at = 1; at < args.length && shown.length < SHOWN_BYTES_MAX; at++) {
    const argument = args[at]!;
    shown += `'${latin1Of(argument, 0, Math.min(argument.length, SHOWN_BYTES_MAX - shown.length))}' `;
  }
  return `ERR unknown command '${name}', with args beginning with: ${shown}`;
}

/** The error for a container's word that it does not have. */
export function unknownSubcommandText(container: TableEntry, word: Uint8Array): string {
  const shown = latin1Of(word, 0, Math.min(word.length, SHOWN_BYTES_MAX));
  const why = absentSubcommands.get(`${container.fullName} ${shown.toLowerCase()}`);
  if (why !== undefined) return `ERR unknown subcommand '${shown}': ${why}`;
  return `ERR unknown subcommand '${shown}'. Try ${container.fullName.toUpperCase()} HELP.`;
}

/** The error for a wrong number of arguments. */
export function arityText(entry: TableEntry): string {
  return `ERR wrong number of arguments for '${entry.fullName}' command`;
}

function absentCommands(families: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(families).flatMap(([family, names]) => names.split(" ").map((name) => [name, family] as const)),
  );
}
