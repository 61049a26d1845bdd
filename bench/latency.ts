/** How long single GETs wait: one client, one request at a time. */
import { once } from "node:events";
import { connect } from "node:net";
import { quantile } from "./stats.js";
import { pairKey, scramble } from "./workload.js";

/** From the request to its reply, as the client sees it. */
export interface Latencies {
  readonly p50Micros: number;
  readonly p99Micros: number;
}

/** GETs `count` keys drawn from the pairs `from` up to (without) `to`. Throws when the connection fails. */
export async function getLatencies(
  port: number,
  { from, to, count }: { readonly from: number; readonly to: number; readonly count: number },
): Promise<Latencies> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const micros: number[] = [];
  try {
    for (let at = 0; at < count; at++) {
      const key = pairKey(from + (scramble(at) % (to - from)));
      const startMs = performance.now();
      socket.write(`*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`, "latin1");
      // A reply is short enough to come in one piece.
      await once(socket, "data");
      micros.push((performance.now() - startMs) * 1_000);
    }
  } finally {
    socket.destroy();
  }
  return { p50Micros: quantile(micros, 0.5), p99Micros: quantile(micros, 0.99) };
}
