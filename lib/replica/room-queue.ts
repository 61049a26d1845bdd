/**
 * Holds requests of other members that store something while the disk does not keep up, until it does: whoever sent them waits
 * a moment instead of being refused. Bounded: what comes above that is refused, and its sender turns to a stand-in.
 */
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Answered } from "./durable-answer.js";
import type { Replica } from "./replica.js";

/** A request that stores something: of another member, or a part of one. */
export interface StoringRequest extends Answered {
  /** Borrowed until it is handled. */
  payload: Buffer;
  readonly isNotice: boolean;
  readonly isAnswered: boolean;
  isLate(): boolean;
}

const HELD_BYTES_MAX = 16_777_216;
/** What a request takes besides its payload. */
const REQUEST_BYTES = 1_024;
const NO_ROOM = "the disk does not keep up";
const NO_BYTES = Buffer.alloc(0);

export class RoomQueue {
  readonly #replica: Pick<Replica, "backlog" | "room" | "merging">;
  #heldBytes = 0;

  constructor(replica: Pick<Replica, "backlog" | "room" | "merging">) {
    this.#replica = replica;
  }

  /** Runs `handle` at once, or when there is room; refuses the request with BUSY when too many wait, and when it is late. */
  run<Asked extends StoringRequest>(request: Asked, handle: (request: Asked) => void): void {
    if (this.#replica.backlog() !== "stopped") return handle(request);
    const bytes = request.payload.length + REQUEST_BYTES;
    if (this.#heldBytes + bytes > HELD_BYTES_MAX) return request.refuse("BUSY", NO_ROOM);
    this.#heldBytes += bytes;
    const payload = Buffer.from(request.payload);
    const held = this.#replica.merging.during(() => this.#hold(request, payload, handle));
    background(
      held.finally(() => {
        this.#heldBytes -= bytes;
      }),
    );
  }

  async #hold<Asked extends StoringRequest>(request: Asked, payload: Buffer, handle: (request: Asked) => void): Promise<void> {
    try {
      while (this.#replica.backlog() === "stopped") await this.#replica.room();
      // Who sent it has given up, and seen to it that this node gets it later.
      if (request.isLate()) return request.refuse("LATE", NO_ROOM);
      request.payload = payload;
      handle(request);
    } catch (error) {
      if (!(error instanceof OperatingError) || (request.isAnswered && !request.isNotice)) throw error;
      request.refuse("FAILED", messageOf(error));
    } finally {
      request.payload = NO_BYTES;
    }
  }
}
