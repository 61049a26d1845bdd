/**
 * A proxy before each member's peer port, which can cut a member off from the others as a broken network does: nothing
 * passes and nothing is closed, on links that are there and on those that are dialled meanwhile. Afterwards what was held
 * back arrives, as the system would have sent it again.
 *
 * Who dials is read from the hello with which each link begins, so that links between two others go on.
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
      const link = new Link({ dialler, at, port: peer, onClose: () => this.#links.delete(link) });
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

  heal(): void {
    this.#cutOff = null;
    this.#apply();
  }

  async close(): Promise<void> {
    for (const link of this.#links) link.destroy();
    await Promise.all(this.#servers.map((server) => once(server.close(), "close")));
  }

  #apply(): void {
    for (const link of this.#links) link.hold(this.#isCut(link));
  }

  #isCut({ at, peerId }: Link): boolean {
    return this.#cutOff !== null && (at === this.#cutOff.at || peerId === this.#cutOff.peerId);
  }
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
  #acceptor: Socket | null = null;
  #head = Buffer.alloc(0);
  #isHeld = false;
  #isOver = false;

  constructor(options: { dialler: Socket; at: number; port: number; onClose: () => void }) {
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
    from.on("data", (chunk: Buffer) => {
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => {
      if (!this.#isHeld) from.resume();
    });
    from.on("end", () => to.end());
  }

  /** One end is gone. The other hears of it when something may pass again. */
  #onOver(): void {
    this.#isOver = true;
    if (!this.#isHeld) this.destroy();
  }
}
