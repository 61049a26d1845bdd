/**
 * A member of the ring, as the ring document knows it: who it is, where it stands, how much it takes and which tokens it
 * holds. Addresses are not here: they change without anybody agreeing, so gossip carries them.
 */
import { SLOTS } from "../bytes/slot.js";

/** 16 lowercase hexadecimal digits: 64 random bits, minted with a data directory. All zeros is nobody. */
export type MemberId = string;

/** A field of a later version: kept verbatim by those who do not know its tag. */
export interface UnknownField {
  readonly tag: number;
  readonly bytes: Buffer;
}

export interface Member {
  readonly id: MemberId;
  /** 8 latin1 characters, as in the actors of records. */
  readonly storeId: string;
  readonly name: string;
  /** The physical server: two members of one data centre with the same label never count as two hosts. */
  readonly host: string;
  readonly rack: string;
  readonly dc: string;
  /** Capacity, 0.01 to 1000 in steps of 0.01: a member of weight 2 owns twice as much as one of weight 1. */
  readonly weight: number;
  /** Slots, 0 to 16383, ascending; no two members hold the same. Empty: it owns nothing. */
  readonly tokens: readonly number[];
  /** Fields of later versions, tags ascending; left out when there are none. */
  readonly unknown?: readonly UnknownField[];
}

export const MEMBER_ID_BYTES = 8;
export const WEIGHT_MIN = 0.01;
export const WEIGHT_MAX = 1_000;
/** Of name, host, rack and dc, in UTF-8. */
export const LABEL_BYTES_MAX = 255;

/** A new id; `bytes` is the Random seam's. */
export function mintMemberId(bytes: (length: number) => Buffer): MemberId {
  return bytes(MEMBER_ID_BYTES).toString("hex");
}

export function isMemberId(text: string): text is MemberId {
  return /^[0-9a-f]{16}$/.test(text) && text !== "0".repeat(2 * MEMBER_ID_BYTES);
}

/** Those who are meant by an id or a name, which several may have. */
export function membersCalled(members: readonly Member[], idOrName: string): Member[] {
  return members.filter(({ id, name }) => id === idOrName || name === idOrName);
}

/** Why a name that so many members have means none of them. */
export function ambiguityOf(name: string, members: number): string {
  return `${members} members are called ${name}: give the id of one (kindred ring lists them)`;
}

/** What is wrong with a member, for people; null when nothing is. */
export function faultOfMember(member: Member): string | null {
  if (!isMemberId(member.id)) return `${JSON.stringify(member.id)} is no member id: 16 lowercase hexadecimal digits`;
  if (!/^[\0-\xff]{8}$/.test(member.storeId)) return `member ${member.id} has no store id of 8 bytes`;
  for (const label of ["name", "host", "rack", "dc"] as const) {
    if (member[label].length === 0) return `member ${member.id} has no ${label}`;
    if (Buffer.byteLength(member[label]) > LABEL_BYTES_MAX) {
      return `the ${label} of member ${member.id} is longer than ${LABEL_BYTES_MAX} bytes`;
    }
  }
  const { weight } = member;
  if (!(weight >= WEIGHT_MIN && weight <= WEIGHT_MAX) || Math.round(weight * 100) / 100 !== weight) {
    return `the weight of member ${member.id} is ${weight}; it may be ${WEIGHT_MIN} to ${WEIGHT_MAX} in steps of 0.01`;
  }
  return faultOfTokens(member);
}

function faultOfTokens({ id, tokens }: Member): string | null {
  let previous = -1;
  for (const token of tokens) {
    if (!Number.isInteger(token) || token <= previous || token >= SLOTS) {
      return `the tokens of member ${id} are not ascending slots below ${SLOTS}`;
    }
    previous = token;
  }
  return null;
}
