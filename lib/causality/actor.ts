/**
 * Who made an event: an actor is a store in one of its epochs. As a value it is a string of 12 latin1 characters (store id,
 * 8 bytes; epoch, 4 bytes, big-endian), so that actors are compared, sorted and kept in maps as what they are on disk.
 */
import { assert } from "../assert.js";

/** 12 latin1 characters: the store's id and the epoch. */
export type Actor = string;

/** One event: the `sequence`th (1 to 2^53 - 1) that the actor counted. Never used twice. */
export interface Dot {
  readonly actor: Actor;
  readonly sequence: number;
}

/** What people call the store with this id (8 latin1 characters), or null when nobody knows it. */
export type StoreNames = (storeId: string) => string | null;

export const STORE_ID_BYTES = 8;
export const ACTOR_BYTES = 12;
/** Epochs are 1 to this. */
export const EPOCH_MAX = 0xffff_ffff;

/** The actor of a store (id: 8 latin1 characters, random) in its `epoch` (1 to 2^32 - 1). */
export function actorOf(storeId: string, epoch: number): Actor {
  assert(storeId.length === STORE_ID_BYTES, "actor: a store id is 8 bytes");
  assert(Number.isInteger(epoch) && epoch >= 1 && epoch <= EPOCH_MAX, "actor: an epoch is 1 to 2^32 - 1");
  return storeId + String.fromCharCode(epoch >>> 24, (epoch >>> 16) & 255, (epoch >>> 8) & 255, epoch & 255);
}

export function storeIdOf(actor: Actor): string {
  return actor.slice(0, STORE_ID_BYTES);
}

export function epochOf(actor: Actor): number {
  const high = (actor.charCodeAt(8) << 8) | actor.charCodeAt(9);
  return high * 0x1_0000 + ((actor.charCodeAt(10) << 8) | actor.charCodeAt(11));
}

/** `node-a:3`; `node-a#2:3` from the second epoch on; the id in 16 hexadecimal digits for a store without a name. */
export function readableDot(dot: Dot, names: StoreNames): string {
  const storeId = storeIdOf(dot.actor);
  const epoch = epochOf(dot.actor);
  const name = names(storeId) ?? Buffer.from(storeId, "latin1").toString("hex");
  return `${name}${epoch > 1 ? `#${epoch}` : ""}:${dot.sequence}`;
}
