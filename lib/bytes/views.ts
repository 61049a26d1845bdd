/**
 * Views of many stretches of the same bytes. To make one of a Buffer takes twice as long by its own `subarray`, which asks for
 * the memory behind it each time: a call out of JavaScript.
 */

const NO_BYTES: Uint8Array = new Uint8Array(0);

export class Views {
  #bytes = NO_BYTES;
  #memory: ArrayBufferLike = NO_BYTES.buffer;

  /** A view of `bytes[start, end)`. These bytes are kept in mind until others come, or `forget`. */
  of(bytes: Uint8Array, start: number, end: number): Uint8Array {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#memory = bytes.buffer;
    }
    return new Uint8Array(this.#memory, bytes.byteOffset + start, end - start);
  }

  forget(): void {
    this.#bytes = NO_BYTES;
    this.#memory = NO_BYTES.buffer;
  }
}
