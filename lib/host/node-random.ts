/** The Random seam on the machine's generators. */
import { randomBytes } from "node:crypto";
import type { Random } from "./random.js";

export class NodeRandom implements Random {
  fraction(): number {
    return Math.random();
  }

  bytes(length: number): Buffer {
    return randomBytes(length);
  }
}
