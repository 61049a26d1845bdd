/**
 * Where the other members were last, kept on the disk: so members that all start at once, with or without seeds, meet
 * again. It is a memory, not an agreement: gossip says where they are now.
 */
import { messageOf, OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { Log } from "../log.js";
import { PartReader, text, varint } from "./field-encoding.js";
import { MEMBER_ID_BYTES, type MemberId } from "./member.js";
import type { MemberAddress } from "./member-entry.js";
import { RecordName, type Records } from "./records.js";

const FORMAT = 1;
/** Changes that come together are written together. */
const SAVE_DELAY_MS = 1_000;

export interface AddressBookOptions {
  readonly records: Records;
  readonly clock: Clock;
  readonly log: Log;
  /** Members of the ring and who is joining it; others are not kept. */
  readonly isKept: (id: MemberId) => boolean;
}

export class AddressBook {
  readonly #options: AddressBookOptions;
  readonly #addresses: Map<MemberId, MemberAddress>;
  #saved: Buffer;
  #timer: Timer | null = null;

  constructor(options: AddressBookOptions) {
    this.#options = options;
    this.#saved = options.records.get(RecordName.addresses) ?? Buffer.alloc(0);
    this.#addresses = this.#read(this.#saved);
  }

  entries(): IterableIterator<[MemberId, MemberAddress]> {
    return this.#addresses.entries();
  }

  get(id: MemberId): MemberAddress | null {
    return this.#addresses.get(id) ?? null;
  }

  note(id: MemberId, address: MemberAddress): void {
    const known = this.#addresses.get(id);
    if (known !== undefined && known.host === address.host && known.port === address.port) return;
    this.#addresses.set(id, { host: address.host, port: address.port });
    this.saveSoon();
  }

  forget(id: MemberId): void {
    if (this.#addresses.delete(id)) this.saveSoon();
  }

  /** Who is kept, or where one is, may have changed. */
  saveSoon(): void {
    this.#timer ??= this.#options.clock.after(SAVE_DELAY_MS, () => this.flush());
  }

  /** Writes what is not written yet. A disk that refuses is tried again with the next change: it costs a memory only. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const { records, log, isKept } = this.#options;
    const kept = [...this.#addresses].filter(([id]) => isKept(id)).sort(([a], [b]) => (a < b ? -1 : 1));
    const bytes = encode(kept);
    if (bytes.equals(this.#saved) || (kept.length === 0 && this.#saved.length === 0)) return;
    try {
      records.putNow(RecordName.addresses, bytes);
      this.#saved = bytes;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      log.warn({ code: error.code }, `the addresses of other members were not stored: ${messageOf(error)}`);
    }
  }

  #read(bytes: Buffer): Map<MemberId, MemberAddress> {
    try {
      return decode(bytes);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#options.log.warn({}, `the stored addresses of other members are of no use: ${messageOf(error)}`);
      return new Map();
    }
  }
}

/** Layout: format varint = 1 | (id 8 bytes | host text | port varint)*, ids ascending. */
function encode(entries: readonly [MemberId, MemberAddress][]): Buffer {
  const parts = entries.flatMap(([id, { host, port }]) => [Buffer.from(id, "hex"), text(host), varint(port)]);
  return Buffer.concat([varint(FORMAT), ...parts]);
}

function decode(bytes: Buffer): Map<MemberId, MemberAddress> {
  const addresses = new Map<MemberId, MemberAddress>();
  if (bytes.length === 0) return addresses;
  const part = new PartReader(bytes);
  const format = part.varint();
  if (format !== FORMAT) throw new OperatingError("CORRUPT", `format ${format}; this version reads ${FORMAT}`);
  while (!part.isAtEnd) {
    const id = part.fixed(MEMBER_ID_BYTES).toString("hex");
    addresses.set(id, { host: part.sized().toString(), port: part.varint() });
  }
  return addresses;
}

/** Takes an address out of a list, unless it is among others. */
export function removeAddress(
  from: MemberAddress[],
  address: MemberAddress,
  { except }: { except: readonly MemberAddress[] },
): void {
  const isIt = ({ host, port }: MemberAddress): boolean => host === address.host && port === address.port;
  if (except.some(isIt)) return;
  for (let at = from.findIndex(isIt); at >= 0; at = from.findIndex(isIt)) from.splice(at, 1);
}
