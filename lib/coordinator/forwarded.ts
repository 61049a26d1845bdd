/** What a request of another member says of the operation that it passes on. */
import type { Clock } from "../host/clock.js";
import type { MemberRequest } from "../replica/remote-replicas.js";
import { BeginLimit } from "./begin-limit.js";
import type { Forwarded } from "./keyspace.js";

export function forwardedBy(
  request: MemberRequest,
  { writeId, spareMs, stamp }: { readonly writeId: string; readonly spareMs: number; readonly stamp: number },
  clock: Clock,
  leasedUntilMs: () => number = () => 0,
): Forwarded & { readonly begin: BeginLimit } {
  const { deadlineMs } = request;
  const begin = new BeginLimit({ clock, byMs: deadlineMs - spareMs, leasedUntilMs, isAbandoned: () => request.isAbandoned });
  return { writeId, deadlineMs, stamp, begin };
}
