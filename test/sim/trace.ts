/** A running digest of everything that happens in a simulation: equal digests mean equal histories. */
export class Trace {
  #hash = 0x811c9dc5;
  #events = 0;

  note(event: string): void {
    this.#events++;
    let hash = this.#hash;
    for (let at = 0; at < event.length; at++) hash = Math.imul(hash ^ event.charCodeAt(at), 0x01000193);
    this.#hash = Math.imul(hash ^ 10, 0x01000193);
  }

  digest(): string {
    return `${this.#events}:${(this.#hash >>> 0).toString(16).padStart(8, "0")}`;
  }
}
