/** Which of the owners in another data centre passes a write on to the others there. Pure. */
import type { MemberId } from "../cluster/member.js";
import type { MemberHealth } from "../replica/member-health.js";

/** The calls with that of the relay first: one that answers promptly, if any does, and for each `shift` another. */
export function relayFirst<Call extends { readonly to: MemberId }>(
  calls: readonly Call[],
  health: Pick<MemberHealth, "isPrompt">,
  shift: number,
): readonly Call[] {
  const { length } = calls;
  if (length < 2) return calls;
  let relay = shift % length;
  for (let step = 0; step < length; step++) {
    const at = (shift + step) % length;
    if (!health.isPrompt(calls[at]!.to)) continue;
    relay = at;
    break;
  }
  return [calls[relay]!, ...calls.filter((_, at) => at !== relay)];
}
