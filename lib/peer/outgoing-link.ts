/**
 * Our link to one peer: dials it, keeps it alive, sends our calls on it and hands back their answers.
 *
 * INVARIANT: every call that was taken is told its outcome exactly once, never within `send`. While the link is not up no
 * call is taken: it fails with UNAVAILABLE, unsent. Sending a call makes no promise, no closure and no timer.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import type { OperatingError } from "../errors.js";
import type { Timer } from "../host/clock.js";
import { CallTable } from "./call-table.js";
import { type PeerFailureCode, refusalOf } from "./failure.js";
import { CALL_ID_BYTES, FrameType, REQUEST_HEAD_BYTES } from "./frame.js";
import { Dialler, type DialOutcome, type HandshakeOwner, type PeerHello } from "./handshake.js";
import type { HearingTime } from "./hearing-time.js";
import { cleanText } from "./hello.js";
import { Latency } from "./latency.js";
import type { OutBuffer } from "./out-buffer.js";
import { BACKGROUND_KIND_MIN, type PeerCall, type PeerCallHead, type PeerNotice } from "./peer-call.js";
import type { Wire, WireSink } from "./wire.js";

export interface LinkOwner extends HandshakeOwner {
  /** Monotonic time, read once a turn. */
  turnMs(): number;
  readonly hearing: HearingTime;
  /** By kind of call: the protocol version from which on it exists. */
  readonly sinceVersions: Uint8Array;
  /** Tells a call of its failure at the end of this turn. */
  failSoon(call: PeerCallHead, code: PeerFailureCode, text: string): void;
  linkUp(link: OutgoingLink, peer: PeerHello): void;
  linkDown(link: OutgoingLink, why: string): void;
  /** An attempt to dial failed; there will be another. */
  dialFailed(link: OutgoingLink, error: OperatingError): void;
}

export interface PeerAddress {
  readonly host: string;
  readonly port: number;
}

/** What is known of a peer. A live view: read it, do not keep it. */
export interface PeerState {
  readonly peerId: string;
  readonly status: "connected" | "connecting" | "down";
  /** The highest protocol version that both speak; null without a link. */
  readonly version: number | null;
  /** Monotonic time since which there is no link; null while it is connected. */
  readonly downSinceMs: number | null;
  /** Monotonic time at which anything last came from it; null before the first. */
  readonly lastAnswerMs: number | null;
  /** How long calls have waited for answers and nothing at all came from it, though it could have been heard; 0 while none waits. */
  readonly silentMs: number;
  /** There is a link, and the peer did not miss `missedDeadlinesMax` deadlines in a row. */
  readonly isUsable: boolean;
  /** Calls in a row that had no answer by their deadline while nothing at all came from the peer. */
  readonly missedDeadlines: number;
  /** The mean of its answers to calls of kinds below 128 and to pings; -1 before the first. */
  readonly latencyMs: number;
  /** What its answers rarely exceed, for hedging; -1 before the first. */
  readonly usualMsMax: number;
  /** The shortest of its answers on this link, which is the way there and back; 0 before the first few. */
  readonly leastMs: number;
  readonly callsInFlight: number;
  readonly queuedBytes: number;
}

/** A deadline counts as missed after so much silence: a peer that answers others has much to do. */
const MISSED_MS_MIN = 100;
/**
 * A peer takes a deadline to be later than it is, never earlier (clock-offset.ts), so its LATE does not come before it, however
 * slow the way. One that comes so much too early says that our clock stood still, as that of a paused virtual machine does; by
 * less a clock that is being set right may be off.
 */
const EARLY_MS_MAX = 50;
/** Time between looks at the deadlines of calls, at least. */
const EXPIRY_MS_MIN = 1;

export class OutgoingLink implements WireSink, DialOutcome, PeerState {
  readonly peerId: string;
  readonly #owner: LinkOwner;
  readonly #calls: CallTable;
  #latency = new Latency();
  #address: PeerAddress | null = null;
  #dialler: Dialler | null = null;
  #wire: Wire | null = null;
  /** Of the protocol on the last link. */
  #version = 0;
  #retryTimer: Timer | null = null;
  #failures = 0;
  #isForgotten = false;
  /** The peer has said that it is about to stop: what was sent is answered, and nothing is to be begun. */
  #isLeaving = false;
  #downSinceMs: number | null;

  #expiryTimer: Timer | null = null;
  #expiryMs = Number.POSITIVE_INFINITY;
  readonly #expired: PeerCallHead[] = [];

  /** Monotonic times; `#heardMs` also starts anew when the link comes up or this process was stopped. */
  #heardMs = 0;
  #lastAnswerMs: number | null = null;
  /** When a call was sent while none was waiting, or something was heard: the later of the two. */
  #silentSinceMs = 0;
  #looksBefore = 0;
  #missedDeadlines = 0;
  #pingId = 0;
  #pingSentMs: number | null = null;

  constructor(owner: LinkOwner, peerId: string) {
    this.#owner = owner;
    this.peerId = peerId;
    this.#calls = new CallTable(owner.settings.callsMax);
    this.#downSinceMs = owner.monotonicMs();
  }

  // PeerState.

  get status(): "connected" | "connecting" | "down" {
    if (this.#wire !== null) return "connected";
    return this.#dialler !== null ? "connecting" : "down";
  }

  get version(): number | null {
    return this.#wire === null ? null : this.#version;
  }

  get downSinceMs(): number | null {
    return this.#downSinceMs;
  }

  get lastAnswerMs(): number | null {
    return this.#lastAnswerMs;
  }

  get silentMs(): number {
    if (this.#calls.count === 0) return 0;
    const owner = this.#owner;
    return owner.hearing.heardOf(Math.max(0, owner.turnMs() - this.#silentSinceMs), this.#looksBefore);
  }

  get hasCalls(): boolean {
    return this.#calls.count > 0;
  }

  get missedDeadlines(): number {
    return this.#missedDeadlines;
  }

  get latencyMs(): number {
    return this.#latency.meanMs;
  }

  get usualMsMax(): number {
    return this.#latency.usualMsMax;
  }

  get leastMs(): number {
    return this.#latency.leastMs;
  }

  get callsInFlight(): number {
    return this.#calls.count;
  }

  get queuedBytes(): number {
    return this.#wire === null ? 0 : this.#wire.queuedBytes;
  }

  get isUsable(): boolean {
    return this.#wire !== null && !this.#isLeaving && this.#missedDeadlines < this.#owner.settings.missedDeadlinesMax;
  }

  // What the owner says.

  /** Dials it there from now on. A link to another address is closed. */
  setAddress(address: PeerAddress): void {
    const old = this.#address;
    if (old !== null && old.host === address.host && old.port === address.port) return;
    this.#address = { host: address.host, port: address.port };
    this.#failures = 0;
    if (old !== null) {
      this.#dropAttempt("its address changed");
      this.#wire?.close("its address changed");
      this.#retryTimer?.cancel();
      this.#retryTimer = null;
    }
    if (this.#wire === null) this.#dial();
  }

  /** Takes over a connection that was dialled before the peer's id was known, unless it has one. */
  adopt(address: PeerAddress, wire: Wire, peer: PeerHello): void {
    if (this.#wire !== null) {
      wire.close("there is a link already");
      return;
    }
    // Wherever else it was thought to be, this is where it answered.
    this.#address = { host: address.host, port: address.port };
    this.#dropAttempt("another connection was faster");
    this.onLinked(wire, peer);
  }

  /** Closes for good; calls fail with UNAVAILABLE. */
  forget(why: string): void {
    if (this.#isForgotten) return;
    this.#isForgotten = true;
    this.#retryTimer?.cancel();
    this.#dropAttempt(why);
    this.#wire?.close(why);
    this.#expiryTimer?.cancel();
  }

  send(call: PeerCall): void {
    const { payload } = call;
    const out = this.begin(call, payload.length);
    if (out === null) return;
    out.at = copyBytes(payload, 0, payload.length, out.bytes, out.at);
    this.end();
  }

  /** Room for the payload of a call, or null when it is not taken; it is told why. */
  begin(call: PeerCallHead, payloadBytesMax: number): OutBuffer | null {
    const wire = this.#wire;
    const owner = this.#owner;
    if (wire === null) {
      owner.failSoon(call, "UNAVAILABLE", "there is no link to the peer; the call was not sent");
      return null;
    }
    const { settings } = owner;
    const since = owner.sinceVersions[call.kind]!;
    if (since > this.#version) {
      owner.failSoon(
        call,
        "NO_HANDLER",
        `it speaks protocol ${this.#version}, this call is of protocol ${since}: upgrade it first`,
      );
      return null;
    }
    if (payloadBytesMax > settings.frameBytesMax) {
      owner.failSoon(
        call,
        "TOO_LARGE",
        `a payload of ${payloadBytesMax} bytes; at most ${settings.frameBytesMax} (frameBytesMax)`,
      );
      return null;
    }
    if (wire.queuedBytes + payloadBytesMax > settings.queuedBytesMax) {
      owner.failSoon(call, "BUSY", `${settings.queuedBytesMax} bytes wait for the peer already (queuedBytesMax)`);
      return null;
    }
    const { deadlineMs } = call;
    const nowMs = owner.turnMs();
    if (!(deadlineMs > nowMs)) {
      owner.failSoon(call, "TIMEOUT", "the deadline had passed before the call was sent");
      return null;
    }
    if (this.#calls.count === 0) {
      this.#silentSince(nowMs);
      owner.hearing.begin();
    }
    const id = this.#calls.add(call, deadlineMs, nowMs);
    if (id === 0) {
      owner.failSoon(call, "BUSY", `${settings.callsMax} calls wait for the peer already (callsMax)`);
      return null;
    }
    if (deadlineMs < this.#expiryMs) this.#armExpiry(deadlineMs, nowMs);
    return this.#beginRequest(wire, { id, kind: call.kind, deadlineMs }, payloadBytesMax);
  }

  /** Dials at once where it would be dialled later. */
  retryNow(): void {
    if (this.#retryTimer === null || this.#isForgotten) return;
    this.#retryTimer.cancel();
    this.#retryTimer = null;
    this.#dial();
  }

  /** Pings the peer, unless a ping is under way: what lives answers at once, whatever else it is at. */
  probe(): void {
    this.#ping();
  }

  /** Ends the call that `begin` began. */
  end(): void {
    assert(this.#wire !== null, "peer: a call ends in the turn in which it began");
    this.#wire.endFrame();
  }

  /** False when it was not sent. */
  notify(notice: PeerNotice): boolean {
    const wire = this.#wire;
    const { payload, kind, deadlineMs } = notice;
    const { settings } = this.#owner;
    if (wire === null || payload.length > settings.frameBytesMax) return false;
    if (this.#owner.sinceVersions[kind]! > this.#version) return false;
    if (wire.queuedBytes + payload.length > settings.queuedBytesMax) return false;
    const out = this.#beginRequest(wire, { id: 0, kind, deadlineMs: deadlineMs ?? Number.POSITIVE_INFINITY }, payload.length);
    out.at = copyBytes(payload, 0, payload.length, out.bytes, out.at);
    wire.endFrame();
    return true;
  }

  /** Looks after the link a few times a second. `wasStopped`: this process itself did not run since the last time. */
  tick(nowMs: number, wasStopped: boolean): void {
    if (this.#wire === null) return;
    // Who was stopped has not read what came meanwhile, so it cannot blame the peer.
    if (wasStopped) {
      this.#heardMs = nowMs;
      this.#silentSince(nowMs);
    }
    const { settings } = this.#owner;
    const silentMs = nowMs - this.#heardMs;
    if (silentMs >= settings.silenceMsMax) this.#wire.close(`nothing came from the peer for ${Math.round(silentMs)} ms`);
    else if (silentMs >= settings.pingMs) this.#ping();
  }

  // DialOutcome.

  onLinked(wire: Wire, peer: PeerHello): void {
    this.#dialler = null;
    this.#retryTimer?.cancel();
    this.#retryTimer = null;
    this.#failures = 0;
    this.#wire = wire;
    this.#version = peer.version;
    wire.sink = this;
    wire.startStamping();
    this.#downSinceMs = null;
    this.#missedDeadlines = 0;
    this.#isLeaving = false;
    this.#latency = new Latency();
    this.#pingSentMs = null;
    this.#heardMs = wire.arrivedMs;
    this.#silentSince(wire.arrivedMs);
    // A first sample of its latency, and for the peer a first batch.
    this.#ping();
    this.#owner.linkUp(this, peer);
  }

  onDialFailed(error: OperatingError): void {
    this.#dialler = null;
    if (this.#isForgotten || this.#wire !== null) return;
    this.#owner.dialFailed(this, error);
    this.#retryLater();
  }

  // WireSink.

  get payloadBytesMax(): number {
    return this.#owner.settings.frameBytesMax;
  }

  onFrame(type: number, bytes: Buffer, start: number, end: number): void {
    const wire = this.#wire!;
    this.#heard(wire.arrivedMs);
    if (end - start < CALL_ID_BYTES) {
      wire.onDamage("a frame that is cut off");
      return;
    }
    const id = bytes.readUInt32BE(start);
    switch (type) {
      case FrameType.answer: {
        const call = this.#calls.take(id);
        if (call === null) return;
        if (call.kind < BACKGROUND_KIND_MIN) this.#latency.sample(wire.arrivedMs - this.#calls.takenSentMs);
        call.onAnswer(bytes.subarray(start + CALL_ID_BYTES, end));
        return;
      }
      case FrameType.failure: {
        const code = refusalOf(bytes[start + CALL_ID_BYTES] ?? 0);
        const text = cleanText(bytes.subarray(Math.min(start + CALL_ID_BYTES + 1, end), end));
        const call = this.#calls.take(id);
        if (call === null) return;
        const isEarly = code === "LATE" && call.deadlineMs - this.#owner.monotonicMs() > EARLY_MS_MAX;
        call.onFailure(code, text);
        // On a new link the peer compares the clocks anew.
        if (isEarly) wire.close("calls are late for the peer before they are here: the clock of this node stood still");
        return;
      }
      case FrameType.pong:
        if (id !== this.#pingId || this.#pingSentMs === null) return;
        this.#latency.sample(wire.arrivedMs - this.#pingSentMs);
        this.#pingSentMs = null;
        return;
      case FrameType.leaving:
        this.#isLeaving = true;
        return;
      default:
        wire.onDamage("a frame that does not belong on this link");
    }
  }

  onOversize(type: number, callId: number, lengthBytes: number): boolean {
    if (type !== FrameType.answer) return false;
    this.#heard(this.#wire!.arrivedMs);
    const text = `an answer of about ${lengthBytes} bytes; at most ${this.payloadBytesMax} (frameBytesMax); the call was run`;
    this.#calls.take(callId)?.onFailure("TOO_LARGE", text);
    return true;
  }

  onSent(): void {}

  onClosed(why: string): void {
    const owner = this.#owner;
    this.#wire = null;
    this.#downSinceMs = owner.monotonicMs();
    this.#pingSentMs = null;
    if (!this.#isForgotten) this.#retryLater();
    this.#calls.drainExpired(Number.POSITIVE_INFINITY, this.#expired);
    this.#tellExpired("UNAVAILABLE", `${why}; the call may have taken effect`);
    owner.linkDown(this, why);
  }

  #heard(atMs: number): void {
    this.#heardMs = atMs;
    this.#lastAnswerMs = atMs;
    this.#missedDeadlines = 0;
    this.#silentSince(atMs);
  }

  #silentSince(ms: number): void {
    this.#silentSinceMs = ms;
    this.#looksBefore = this.#owner.hearing.looks;
  }

  #beginRequest(wire: Wire, head: { id: number; kind: number; deadlineMs: number }, payloadBytesMax: number): OutBuffer {
    const out = wire.beginFrame(FrameType.request, REQUEST_HEAD_BYTES + payloadBytesMax);
    const { bytes, at } = out;
    bytes.writeUInt32BE(head.id, at);
    bytes[at + CALL_ID_BYTES] = head.kind;
    bytes.writeDoubleBE(head.deadlineMs, at + CALL_ID_BYTES + 1);
    out.at = at + REQUEST_HEAD_BYTES;
    return out;
  }

  #ping(): void {
    if (this.#pingSentMs !== null || this.#wire === null) return;
    this.#pingId = (this.#pingId + 1) >>> 0;
    this.#pingSentMs = this.#owner.turnMs();
    const out = this.#wire.beginFrame(FrameType.ping, CALL_ID_BYTES);
    out.at = out.bytes.writeUInt32BE(this.#pingId, out.at);
    this.#wire.endFrame();
  }

  // Deadlines: one timer a link, set to the earliest.

  #armExpiry(atMs: number, nowMs: number): void {
    this.#expiryTimer?.cancel();
    this.#expiryMs = atMs;
    this.#expiryTimer = this.#owner.clock.after(Math.max(atMs - nowMs, EXPIRY_MS_MIN), () => this.#expire());
  }

  #expire(): void {
    this.#expiryTimer = null;
    this.#expiryMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#owner.monotonicMs();
    const isSilent = this.silentMs >= MISSED_MS_MIN;
    this.#calls.drainExpired(nowMs, this.#expired);
    if (this.#expired.length > 0) {
      if (isSilent) this.#missedDeadlines += this.#expired.length;
      this.#ping();
      this.#tellExpired("TIMEOUT", "the peer did not answer in time; the call may have taken effect");
    }
    const earliestMs = this.#calls.earliestMs();
    if (earliestMs < this.#expiryMs) this.#armExpiry(earliestMs, nowMs);
  }

  #tellExpired(code: PeerFailureCode, text: string): void {
    const expired = this.#expired.splice(0);
    for (const call of expired) call.onFailure(code, text);
  }

  // Dialling.

  #dial(): void {
    assert(this.#address !== null && this.#dialler === null, "peer: one attempt at a time");
    this.#dialler = new Dialler(this.#owner, { ...this.#address, peerId: this.peerId }, this);
  }

  #dropAttempt(why: string): void {
    const dialler = this.#dialler;
    if (dialler === null) return;
    this.#dialler = null;
    dialler.abandon(why);
  }

  #retryLater(): void {
    const { backOffMsMin, backOffMsMax } = this.#owner.settings;
    const backOffMs = Math.min(backOffMsMin * 2 ** Math.min(this.#failures++, 20), backOffMsMax);
    // Half of it drawn, so that the members do not all dial a peer that returns in the same moment.
    const delayMs = backOffMs * (0.5 + 0.5 * this.#owner.random.fraction());
    this.#retryTimer?.cancel();
    this.#retryTimer = this.#owner.clock.after(delayMs, () => {
      this.#retryTimer = null;
      if (this.#wire === null && this.#dialler === null && this.#address !== null && !this.#isForgotten) this.#dial();
    });
  }
}
