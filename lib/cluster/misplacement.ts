/** Tells an operator that this member keeps a place in the ring that its settings do not say. */
import type { Log } from "../log.js";
import { type MemberSelf, misplacementOf } from "./ring-changes.js";
import type { RingDocument } from "./ring-document.js";

export function sayMisplacement(document: RingDocument, self: MemberSelf, log: Log): void {
  const misplacement = misplacementOf(document, self);
  if (misplacement === null || document.members.length === 1) return;
  log.warn({}, `a member keeps the place at which it joined until it leaves: ${misplacement}`);
}
