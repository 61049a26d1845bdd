/** Keys that are looked for next, in their order: each as a string and, since that is faster to hash and to compare, as bytes. */

export class KeysAhead {
  readonly keys: string[] = [];
  /** Where in `bytes` each begins. */
  readonly starts: number[] = [];
  bytes: Uint8Array = new Uint8Array(0);
  /** Another with each `begin`: whoever keeps this object sees that it holds other keys now. */
  version = 0;

  /** Forgets all keys; those that are added lie in `bytes`, which must not change as long as they are of use. */
  begin(bytes: Uint8Array): void {
    this.version++;
    this.bytes = bytes;
    this.keys.length = 0;
    this.starts.length = 0;
  }

  /** Adds a key of which `bytes` has the same from `start` on. */
  add(key: string, start: number): void {
    this.keys.push(key);
    this.starts.push(start);
  }
}
