/**
 * The hello of a connection, as dialler and as acceptor: a sink for its wire until the link is admitted. Nothing but the
 * frames of the hello is understood here, they are short, and the whole has a deadline.
 */
import { background } from "../background.js";
import { latin1Of } from "../bytes/latin1.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { Connection, Network } from "../host/network.js";
import type { Random } from "../host/random.js";
import { ClockOffset } from "./clock-offset.js";
import { PeerRefusal, type RefusalReason, reasonOf, wireReasonOf } from "./failure.js";
import { FrameType } from "./frame.js";
import * as hello from "./hello.js";
import type { PeerSettings } from "./settings.js";
import { PEER_CLOSED, Wire, type WireOwner, type WireSink } from "./wire.js";

/** What a node says of itself; asked anew for each hello. */
export interface PeerIdentity {
  /** Latin1, 1 to 64 characters; the same for ever. */
  readonly peerId: string;
  /** Latin1, 1 to 64 characters; null while it belongs to no cluster. */
  readonly clusterId: string | null;
  /** What the other side's `admit` looks at, up to 4096 bytes. Sent in the clear: no secrets. */
  readonly settings: Uint8Array;
}

/** Why the owner will not have a peer, for people. */
export interface PeerObjection {
  readonly reason: "settings" | "removed" | "past";
  readonly text: string;
}

/** What a node learns of another, once the secret is proven. */
export interface PeerHello {
  readonly peerId: string;
  readonly clusterId: string | null;
  readonly settings: Buffer;
  /** From where it dialled us, or where we dialled it. */
  readonly remoteAddress: string;
  readonly direction: "accepted" | "dialled";
  /** Of the protocol: the highest that both speak. */
  readonly version: number;
}

export interface HandshakeOwner extends WireOwner {
  readonly clock: Clock;
  readonly network: Network;
  readonly random: Random;
  readonly settings: PeerSettings;
  readonly versions: hello.ProtocolVersions;
  /** Random, of this run of the process. */
  readonly instance: Buffer;
  identity(): PeerIdentity;
  /** Null, or why the link is refused. */
  admit(hello: PeerHello): PeerObjection | null;
  /** Another process with this identity is linked to this node, and was heard a moment ago. */
  hasTwin(peerId: string, instance: string): boolean;
}

/** The text for people when only one of two has a secret, or another one. */
const SECRET_NEEDED = "this cluster needs --cluster-secret: start the node with the secret of its members";
const SECRET_UNKNOWN =
  "the node that is called has no --cluster-secret, the one that calls it has: start both with the same one";
const SECRET_WRONG = "wrong --cluster-secret: start the node with the secret of the cluster's members";
/** On an encrypted connection there is a second reason for a proof to be wrong. */
const SECRET_OR_MIDDLE = `${SECRET_WRONG}; or what stands between the two decrypts their TLS, which must reach from node to node`;

const UNHEARD_HINT = "is that its port for other members, and do both use TLS (tls-cert), or neither?";
const TWIN =
  "another process with this node's identity runs and is linked: is this a copy of its data directory? Start this one in an empty directory";

abstract class Handshake implements WireSink {
  readonly payloadBytesMax = hello.HELLO_BYTES_MAX;
  protected readonly owner: HandshakeOwner;
  protected readonly ours: hello.Hello;
  readonly #timer: Timer;
  #wire: Wire | null = null;
  #isOver = false;

  constructor(owner: HandshakeOwner, timeoutMs: number) {
    this.owner = owner;
    const identity = owner.identity();
    this.ours = {
      versionMin: owner.versions.min,
      versionMax: owner.versions.max,
      hasSecret: owner.settings.clusterSecret !== null,
      nonce: owner.random.bytes(hello.NONCE_BYTES),
      instance: owner.instance,
      peerId: identity.peerId,
      clusterId: identity.clusterId,
      settings: identity.settings,
    };
    this.#timer = owner.clock.after(timeoutMs, () =>
      this.cancel(`no hello within ${timeoutMs} ms (is that its port for other members?)`),
    );
  }

  /** Gives up. */
  cancel(why: string): void {
    if (this.#wire !== null) this.#wire.close(why);
    else this.onClosed(why);
  }

  /** Gives up without telling anybody. */
  abandon(why: string): void {
    this.#isOver = true;
    this.cancel(why);
  }

  /** The handshake failed; called once, and only when `passOn` was not. */
  protected abstract failed(error: OperatingError): void;
  protected abstract readonly speaker: string;

  protected begin(connection: Connection): Wire {
    this.#wire = new Wire(this.owner, connection, this);
    connection.start(this.#wire);
    return this.#wire;
  }

  protected get wire(): Wire {
    return this.#wire!;
  }

  protected get isOver(): boolean {
    return this.#isOver;
  }

  /** Done: the wire goes to its link. */
  protected passOn(): void {
    this.#isOver = true;
    this.#timer.cancel();
  }

  /** Says why not, and closes. */
  protected refuse(reason: RefusalReason, text: string): void {
    if (this.#isOver) return;
    const body = Buffer.concat([Buffer.of(wireReasonOf(reason)), Buffer.from(text)]);
    this.wire.sendFrame(FrameType.refused, body);
    // The timer stays: it closes the connection if the other side does not.
    this.wire.finish();
    this.#fail(new PeerRefusal(reason, `${this.speaker} was refused: ${text}`, "us"));
  }

  protected refuseSecret(): void {
    this.refuse("secret", this.wire.connection.channelBinding === null ? SECRET_WRONG : SECRET_OR_MIDDLE);
  }

  /** What the proofs of this connection are over. */
  protected transcript(helloBody: Uint8Array, welcomeBody: Uint8Array): hello.Transcript {
    return { hello: helloBody, welcome: welcomeBody, channelBinding: this.wire.connection.channelBinding };
  }

  protected refused(body: Buffer): void {
    const reason = reasonOf(body[0] ?? 0);
    this.#fail(new PeerRefusal(reason, `${this.speaker} refuses this node: ${hello.cleanText(body.subarray(1))}`, "them"));
    this.wire.close("refused");
  }

  abstract onFrame(type: number, bytes: Buffer, start: number, end: number): void;

  onOversize(): boolean {
    return false;
  }

  onSent(): void {}

  onClosed(why: string): void {
    this.#timer.cancel();
    this.#fail(new OperatingError("UNAVAILABLE", `${this.speaker}: ${why}`));
  }

  #fail(error: OperatingError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.failed(error);
  }

  /** What both sides ask of the other's hello; null when there is nothing to object. */
  protected objection(theirs: hello.Hello): { reason: RefusalReason; text: string } | null {
    const { ours } = this;
    if (hello.commonVersion(ours, theirs) === null) {
      const text = `peer protocol ${ours.versionMin} to ${ours.versionMax} is spoken here, ${theirs.versionMin} to ${theirs.versionMax} there: upgrade the older node`;
      return { reason: "protocol", text };
    }
    if (theirs.peerId === ours.peerId)
      return { reason: "self", text: `${ours.peerId} is this node itself, or a copy of its data` };
    if (ours.hasSecret && !theirs.hasSecret) return { reason: "secret", text: SECRET_NEEDED };
    if (!ours.hasSecret && theirs.hasSecret) return { reason: "secret", text: SECRET_UNKNOWN };
    return null;
  }

  protected describe(theirs: hello.Hello, direction: "accepted" | "dialled"): PeerHello {
    return {
      peerId: theirs.peerId,
      clusterId: theirs.clusterId,
      settings: Buffer.from(theirs.settings),
      remoteAddress: this.wire.connection.remoteAddress,
      direction,
      version: hello.commonVersion(this.ours, theirs)!,
    };
  }
}

export interface DialTarget {
  readonly host: string;
  readonly port: number;
  /** Who is expected there; null: whoever it is. */
  readonly peerId: string | null;
}

export interface DialOutcome {
  onLinked(wire: Wire, peer: PeerHello): void;
  onDialFailed(error: OperatingError): void;
}

/** Dials and says hello; tells its outcome exactly once. */
export class Dialler extends Handshake {
  protected readonly speaker: string;
  readonly #target: DialTarget;
  readonly #outcome: DialOutcome;
  #hello: Uint8Array = Buffer.alloc(0);
  #transcript: hello.Transcript | null = null;
  #theirs: hello.Hello | null = null;

  constructor(owner: HandshakeOwner, target: DialTarget, outcome: DialOutcome) {
    super(owner, 2 * owner.settings.helloTimeoutMs);
    this.#target = target;
    this.#outcome = outcome;
    this.speaker = `the peer at ${target.host}:${target.port}`;
    background(this.#connect());
  }

  override onClosed(why: string): void {
    const isUnheard = this.#hello.length > 0 && this.#theirs === null && why === PEER_CLOSED;
    super.onClosed(isUnheard ? `${why} without a hello: ${UNHEARD_HINT}` : why);
  }

  async #connect(): Promise<void> {
    const { host, port } = this.#target;
    let connection: Connection;
    try {
      connection = await this.owner.network.connect({ host, port, timeoutMs: this.owner.settings.helloTimeoutMs });
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.onClosed(messageOf(error));
      return;
    }
    if (this.isOver) {
      connection.destroy();
      return;
    }
    const wire = this.begin(connection);
    const body = hello.encodeHello(this.ours);
    this.#hello = body;
    wire.sendFrame(FrameType.hello, body);
  }

  onFrame(type: number, bytes: Buffer, start: number, end: number): void {
    if (this.isOver) return;
    const body = bytes.subarray(start, end);
    if (type === FrameType.refused) this.refused(body);
    else if (type === FrameType.welcome && this.#theirs === null) this.#onWelcome(body);
    else if (type === FrameType.admitted && this.#theirs !== null) this.#onAdmitted(this.#theirs, body);
    else this.wire.onDamage("a frame that is no part of a hello");
  }

  #onWelcome(body: Buffer): void {
    const theirs = hello.decodeHello(body);
    if (theirs === null) return this.wire.onDamage("a malformed welcome");
    const { peerId } = this.#target;
    if (peerId !== null && theirs.peerId !== peerId) {
      return this.refuse("address", `peer ${peerId} was expected at this address, ${theirs.peerId} is there`);
    }
    const objection = this.objection(theirs);
    if (objection !== null) return this.refuse(objection.reason, objection.text);
    this.#theirs = theirs;
    const transcript = this.transcript(this.#hello, Buffer.from(body));
    this.#transcript = transcript;
    const secret = this.owner.settings.clusterSecret;
    const proof = secret === null ? Buffer.alloc(0) : hello.proofOf(secret, "dialler", transcript);
    const sent = Buffer.alloc(8 + proof.length);
    sent.writeDoubleBE(this.owner.monotonicMs(), 0);
    sent.set(proof, 8);
    this.wire.sendFrame(FrameType.proof, sent);
  }

  #onAdmitted(theirs: hello.Hello, proof: Buffer): void {
    const secret = this.owner.settings.clusterSecret;
    if (secret !== null && !hello.isProof(proof, secret, "acceptor", this.#transcript!)) return this.refuseSecret();
    const peer = this.describe(theirs, "dialled");
    const refusal = this.owner.admit(peer);
    if (refusal !== null) return this.refuse(refusal.reason, refusal.text);
    this.passOn();
    this.#outcome.onLinked(this.wire, peer);
  }

  protected failed(error: OperatingError): void {
    this.#outcome.onDialFailed(error);
  }
}

/** An accepted link: `offset` holds what the hello taught of the dialler's clock. */
export interface Accepted {
  readonly wire: Wire;
  readonly peer: PeerHello;
  /** The dialler's run of its process. */
  readonly instance: string;
  readonly offset: ClockOffset;
}

export interface AcceptOutcome {
  onAccepted(accepted: Accepted): void;
  onAcceptFailed(error: OperatingError, remoteAddress: string): void;
  /** The connection's hello holds no place any more: it became a link, or is closed. */
  onHelloOver(acceptor: Acceptor): void;
}

export class Acceptor extends Handshake {
  protected readonly speaker: string;
  readonly #outcome: AcceptOutcome;
  #transcript: hello.Transcript | null = null;
  #theirs: hello.Hello | null = null;

  constructor(owner: HandshakeOwner, connection: Connection, outcome: AcceptOutcome) {
    super(owner, owner.settings.helloTimeoutMs);
    this.#outcome = outcome;
    this.speaker = `a peer from ${connection.remoteAddress}`;
    this.begin(connection);
  }

  onFrame(type: number, bytes: Buffer, start: number, end: number): void {
    if (this.isOver) return;
    const body = bytes.subarray(start, end);
    if (type === FrameType.refused) this.refused(body);
    else if (type === FrameType.hello && this.#theirs === null) this.#onHello(body);
    else if (type === FrameType.proof && this.#theirs !== null) this.#onProof(this.#theirs, body);
    else this.wire.onDamage("a frame that is no part of a hello");
  }

  #onHello(body: Buffer): void {
    const theirs = hello.decodeHello(body);
    if (theirs === null) return this.wire.onDamage("a malformed hello");
    const objection = this.objection(theirs);
    if (objection !== null) return this.refuse(objection.reason, objection.text);
    const welcome = hello.encodeHello(this.ours);
    this.#theirs = theirs;
    this.#transcript = this.transcript(Buffer.from(body), welcome);
    this.wire.sendFrame(FrameType.welcome, welcome);
  }

  #onProof(theirs: hello.Hello, body: Buffer): void {
    if (body.length < 8 || !Number.isFinite(body.readDoubleBE(0))) return this.wire.onDamage("a malformed proof");
    const secret = this.owner.settings.clusterSecret;
    const transcript = this.#transcript!;
    if (secret !== null && !hello.isProof(body.subarray(8), secret, "dialler", transcript)) return this.refuseSecret();
    const peer = this.describe(theirs, "accepted");
    const refusal = this.owner.admit(peer);
    if (refusal !== null) return this.refuse(refusal.reason, refusal.text);
    const instance = latin1Of(theirs.instance);
    if (this.owner.hasTwin(peer.peerId, instance)) return this.refuse("twin", TWIN);
    // The proof answers our welcome, so it cannot have been under way for longer than since then: a good first sample.
    const offset = new ClockOffset();
    offset.sample(this.wire.arrivedMs, body.readDoubleBE(0));
    const proof = secret === null ? Buffer.alloc(0) : hello.proofOf(secret, "acceptor", transcript);
    this.wire.sendFrame(FrameType.admitted, proof);
    this.passOn();
    this.#outcome.onHelloOver(this);
    this.#outcome.onAccepted({ wire: this.wire, peer, instance, offset });
  }

  override onClosed(why: string): void {
    super.onClosed(why);
    this.#outcome.onHelloOver(this);
  }

  protected failed(error: OperatingError): void {
    this.#outcome.onAcceptFailed(error, this.wire.connection.remoteAddress);
  }
}
