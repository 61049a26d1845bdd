/**
 * A proxy before each member's peer port, which can cut a member off from the others as a broken network does: nothing
 * passes and nothing is closed, on links that are there and on those that are dialled meanwhile. Afterwards what was held
 * back arrives, as the system would have sent it again.
 *
 * Who dials is read from the hello with which each link begins, so that links between two others go on. By it a mesh may also be
 * parted in two, as data centres are: what passes between the parts takes longer, is counted, and may be held back.
 */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { decodeHello } from "../../lib/peer/hello.js";

const MAGIC = Buffer.from("KNDP");
/** Far above where the hello of a link begins: what has none by then is passed on unknown. */
const HEAD_BYTES_MAX = 1_024;

export class LinkMesh {
  readonly #servers: Server[] = [];
  readonly #links = new Set<Link>();
  #cutOff: { readonly peerId: string; readonly at: number } | null = null;
  #part: Part | null = null;
  #delayMs = 0;
  #isLinkCut = false;
  bytesCrossed = 0;

  /** Listens at `announced` and passes what comes there to the peer port of member `at`. */
  async add({
    at,
    announced,
    peer,
  }: {
    readonly at: number;
    readonly announced: number;
    readonly peer: number;
  }): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (dialler) => {
      const onClose = (): boolean => this.#links.delete(link);
      const link = new Link({ dialler, at, port: peer, onClose, delayOf: (bytes) => this.#delayOf(link, bytes) });
      this.#links.add(link);
      link.hold(this.#isCut(link));
      link.onKnown = () => link.hold(this.#isCut(link));
    });
    server.listen(announced, "127.0.0.1");
    await once(server, "listening");
    this.#servers.push(server);
  }

  /** From now on nothing passes from this member or to it. */
  cutOff(member: { readonly peerId: string; readonly at: number }): void {
    this.#cutOff = member;
    this.#apply();
  }

  /** These members are one part, all others the other. */
  part(part: Part, delayMs: number): void {
    this.#part = part;
    this.#delayMs = delayMs;
  }

  cutLink(): void {
    this.#isLinkCut = true;
    this.#apply();
  }

  heal(): void {
    this.#cutOff = null;
    this.#isLinkCut = false;
    this.#apply();
  }

  async close(): Promise<void> {
    for (const link of this.#links) link.destroy();
    await Promise.all(this.#servers.map((server) => once(server.close(), "close")));
  }

  #apply(): void {
    for (const link of this.#links) link.hold(this.#isCut(link));
  }

  #isCut(link: Link): boolean {
    const { at, peerId } = link;
    if (this.#isLinkCut && this.#crosses(link)) return true;
    return this.#cutOff !== null && (at === this.#cutOff.at || peerId === this.#cutOff.peerId);
  }

  #crosses({ at, peerId }: Link): boolean {
    return this.#part !== null && peerId !== null && this.#part.peerIds.has(peerId) !== this.#part.at.has(at);
  }

  #delayOf(link: Link, bytes: number): number {
    if (!this.#crosses(link)) return 0;
    this.bytesCrossed += bytes;
    return this.#delayMs;
  }
}

interface Part {
  readonly peerIds: ReadonlySet<string>;
  readonly at: ReadonlySet<number>;
}

/** One connection and the one that it is passed on to, which is dialled once it is known from whom it is. */
class Link {
  /** The member that is dialled. */
  readonly at: number;
  /** The member that dials; null until its hello came. */
  peerId: string | null = null;
  onKnown: () => void = () => undefined;
  readonly #dialler: Socket;
  readonly #port: number;
  readonly #onClose: () => void;
  readonly #delayOf: (bytes: number) => number;
  #acceptor: Socket | null = null;
  #head = Buffer.alloc(0);
  #isHeld = false;
  #isOver = false;

  constructor(options: {
    dialler: Socket;
    at: number;
    port: number;
    onClose: () => void;
    /** Milliseconds that a chunk of so many bytes is under way. */
    delayOf: (bytes: number) => number;
  }) {
    this.#delayOf = options.delayOf;
    this.at = options.at;
    this.#dialler = options.dialler;
    this.#port = options.port;
    this.#onClose = options.onClose;
    this.#dialler.setNoDelay(true);
    this.#dialler.on("data", this.#onHead);
    this.#dialler.on("error", () => undefined);
    this.#dialler.on("close", () => this.#onOver());
  }

  /** Whether nothing may pass. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (!isHeld && this.#isOver) return this.destroy();
    for (const socket of [this.#dialler, this.#acceptor]) {
      if (isHeld) socket?.pause();
      else socket?.resume();
    }
    if (!isHeld && this.#acceptor === null && this.#isHeadWhole()) this.#passOn();
  }

  destroy(): void {
    this.#dialler.destroy();
    this.#acceptor?.destroy();
    this.#onClose();
  }

  readonly #onHead = (chunk: Buffer): void => {
    this.#head = Buffer.concat([this.#head, chunk]);
    if (!this.#isHeadWhole()) return;
    this.onKnown();
    if (!this.#isHeld && this.#acceptor === null) this.#passOn();
  };

  #isHeadWhole(): boolean {
    const at = this.#head.indexOf(MAGIC);
    this.peerId ??= at < 0 ? null : (decodeHello(this.#head.subarray(at))?.peerId ?? null);
    return this.peerId !== null || this.#head.length > HEAD_BYTES_MAX;
  }

  #passOn(): void {
    const acceptor = connect({ port: this.#port, host: "127.0.0.1", allowHalfOpen: true });
    this.#acceptor = acceptor;
    acceptor.setNoDelay(true);
    acceptor.on("error", () => undefined);
    acceptor.on("close", () => this.#onOver());
    acceptor.write(this.#head);
    this.#dialler.removeListener("data", this.#onHead);
    this.#pass(this.#dialler, acceptor);
    this.#pass(acceptor, this.#dialler);
  }

  /** As `pipe`, which would go on reading by itself while the link is held. */
  #pass(from: Socket, to: Socket): void {
    const write = (chunk: Buffer): void => {
      if (!to.destroyed && !to.write(chunk)) from.pause();
    };
    // Timers of one delay keep their order.
    from.on("data", (chunk: Buffer) => {
      const delayMs = this.#delayOf(chunk.length);
      if (delayMs === 0) write(chunk);
      else setTimeout(write, delayMs, chunk);
    });
    to.on("drain", () => {
      if (!this.#isHeld) from.resume();
    });
    from.on("end", () => setTimeout(() => to.end(), this.#delayOf(0)));
  }

  /** One end is gone. The other hears of it when something may pass again. */
  #onOver(): void {
    this.#isOver = true;
    if (!this.#isHeld) this.destroy();
  }
}
