/** Who may speak to the node: passwords and protected mode. Pure. */
import { createHash, timingSafeEqual } from "node:crypto";
import { latin1Of } from "../bytes/latin1.js";

export const WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled.";
/** There is one user. */
export const USER = "default";

/** Compares in a time that does not depend on where the two differ, nor on their lengths. `required` is latin1. */
export function isSamePassword(given: Uint8Array, required: string): boolean {
  return timingSafeEqual(digest(given), digest(Buffer.from(required, "latin1")));
}

/** May `user` (null: not named) with `password` in? Without a required password the default user has any. */
export function isAdmitted(user: Uint8Array | null, password: Uint8Array, required: string): boolean {
  if (user !== null && latin1Of(user) !== USER) return false;
  return required === "" || isSamePassword(password, required);
}

/**
 * Protected mode: a node without a password refuses connections that come from elsewhere. Returns
 * the error that the connection gets before it is closed, or null when it may stay.
 */
export function protectedModeRefusal(options: {
  readonly isProtected: boolean;
  readonly requirePassword: string;
  readonly remoteAddress: string;
}): string | null {
  const { isProtected, requirePassword, remoteAddress } = options;
  if (!isProtected || requirePassword !== "" || isLoopback(remoteAddress)) return null;
  return (
    "DENIED Kindred runs in protected mode: it listens on an address that others can reach, and no password is set. " +
    "From this address nothing is accepted. Choose one: 1) set a password, with --requirepass or, from the machine itself, " +
    "CONFIG SET requirepass; 2) listen on the loopback address only, with --bind 127.0.0.1; 3) if nobody untrusted can " +
    "reach this address, switch the protection off with --protected-mode no."
  );
}

/** Is the address one of this machine's own loopback addresses (IPv4, IPv6, or IPv4 within IPv6)? */
export function isLoopback(address: string): boolean {
  if (address === "::1") return true;
  const inner = address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
  return /^127\.\d+\.\d+\.\d+$/.test(inner);
}

function digest(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}
