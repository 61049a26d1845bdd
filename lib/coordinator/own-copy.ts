/**
 * This node's own copy of a key as it was when a read of it came. Whoever asks it once the others have answered is told the
 * same, whatever was stored since: what a client writes behind a read of its own is not in what it reads.
 */
import { ownedBytesOf } from "../replica/encoded-record.js";
import type { Replica } from "../replica/replica.js";

export class OwnCopy {
  readonly #replica: Replica;
  readonly #dataKey: string;
  /** Undefined as long as only the disk can tell. */
  #bytes: Buffer | null | undefined;
  #read: Promise<Buffer | null> | null = null;
  /** Commits that the disk had refused by then: what was seen in memory may have been taken back by another since. */
  #refusals = 0;

  /** `bytes` where it was looked at already; left out: it is looked at now. */
  constructor(replica: Replica, dataKey: string, bytes?: Buffer | null) {
    this.#replica = replica;
    this.#dataKey = dataKey;
    this.#bytes = bytes;
    this.#refusals = replica.commitsRefused;
    if (bytes === undefined) this.#look();
  }

  /** Null: there is none. "unread": `read` tells. */
  get bytes(): Buffer | null | "unread" {
    if (this.#bytes !== undefined && this.#refusals !== this.#replica.commitsRefused) this.#look();
    return this.#bytes === undefined ? "unread" : this.#bytes;
  }

  /** What the disk had then; begun then. Rejects with IO or CORRUPT; asked again it looks anew. */
  async read(): Promise<void> {
    const read = this.#read ?? this.#replica.read(this.#dataKey);
    this.#read = null;
    this.#bytes = await read;
    this.#refusals = this.#replica.commitsRefused;
  }

  #look(): void {
    const replica = this.#replica;
    this.#refusals = replica.commitsRefused;
    this.#read = null;
    const look = replica.peek(this.#dataKey);
    this.#bytes = look === "unread" ? undefined : look === "absent" ? null : ownedBytesOf(replica.encodedAtHand());
    if (look !== "unread") return;
    this.#read = replica.read(this.#dataKey);
    // Told to whoever asks.
    this.#read.catch(() => undefined);
  }
}
