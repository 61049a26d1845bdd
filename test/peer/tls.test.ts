/** Links between members over TLS, on real sockets and real time. */
import net from "node:net";
import { expect } from "chai";
import type { OperatingError } from "../../lib/errors.js";
import type { Connection, Network } from "../../lib/host/network.js";
import { NodeClock } from "../../lib/host/node-clock.js";
import { NodeNetwork } from "../../lib/host/node-network.js";
import { NodeRandom } from "../../lib/host/node-random.js";
import { checkCredentials } from "../../lib/host/node-tls-credentials.js";
import { NodeTlsNetwork } from "../../lib/host/node-tls-network.js";
import { type Log, silentLog } from "../../lib/log.js";
import { defaultPeerSettings, PeerRefusal, type PeerSettings, Peers } from "../../lib/peer/peer.js";
import { Authority } from "../host/certificates.js";

const HOST = "127.0.0.1";
const DEADLINE_MS = 5_000;

const authority = new Authority("authority of the tests");
const stranger = new Authority("another authority");

/** A member's network: a certificate of `signer`, trust in `trusted`. */
function overTls(signer: Authority, trusted: Authority | null): Network {
  const minted = signer.issue("member", { usages: ["serverAuth", "clientAuth"] });
  const credentials = checkCredentials({
    cert: { path: "cert.pem", pem: minted.cert },
    key: { path: "key.pem", pem: minted.key },
    ca: trusted === null ? null : { path: "ca.pem", pem: trusted.cert },
  });
  return new NodeTlsNetwork({ credentials, asks: trusted === null ? "no" : "yes", versionMin: "TLSv1.3" });
}

class Member {
  readonly peers: Peers;
  readonly warnings: string[] = [];
  readonly network: Network;

  constructor(id: string, network: Network, settings: Partial<PeerSettings> = {}) {
    this.network = network;
    const log: Log = { ...silentLog, warn: (_, message) => void this.warnings.push(message) };
    this.peers = new Peers({
      network,
      clock: new NodeClock(),
      random: new NodeRandom(),
      log,
      settings: { ...defaultPeerSettings(), ...settings },
      identity: () => ({ peerId: id, clusterId: null, settings: Buffer.alloc(0) }),
      admit: () => null,
    });
    this.peers.serve(1, (request) => request.answer(request.payload));
  }

  listen(): Promise<number> {
    return this.peers.listen({ host: HOST, port: 0 });
  }

  /** The other's id, or why there is no link. */
  dial(port: number): Promise<string | OperatingError> {
    return this.peers.dial({ host: HOST, port }).catch((error: OperatingError) => error);
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Decrypts what one end sends and encrypts it anew for the other, as whoever stands between them would. */
async function middle(network: Network, port: number): Promise<{ port: number; close: () => Promise<void> }> {
  const open: Connection[] = [];
  const pass = (from: Connection, to: Connection): void =>
    from.start({
      onData: (chunk) => to.write(Buffer.from(chunk)),
      onEnd: () => to.end(),
      onDrain: () => undefined,
      onClose: () => to.destroy(),
    });
  const join = async (accepted: Connection): Promise<void> => {
    const dialled = await network.connect({ host: HOST, port, timeoutMs: DEADLINE_MS });
    open.push(accepted, dialled);
    pass(accepted, dialled);
    pass(dialled, accepted);
  };
  const listener = await network.listen({ host: HOST, port: 0, onConnection: (accepted) => void join(accepted) });
  const close = async (): Promise<void> => {
    for (const connection of open) connection.destroy();
    await listener.close();
  };
  return { port: listener.port, close };
}

describe("peers over TLS", () => {
  const members: Member[] = [];
  const member = (id: string, network: Network, settings?: Partial<PeerSettings>): Member => {
    const made = new Member(id, network, settings);
    members.push(made);
    return made;
  };

  afterEach(async () => {
    for (const { peers } of members.splice(0)) await peers.close();
  });

  it("with certificates of one authority carry calls of all sizes both ways at once", async () => {
    const [a, b] = [member("a", overTls(authority, authority)), member("b", overTls(authority, authority))];
    const port = await b.listen();
    b.peers.setAddress("a", { host: HOST, port: await a.listen() });
    expect(await a.dial(port)).to.equal("b");
    await until("both links", () => b.peers.isUsable("a"));
    const clock = new NodeClock();
    const calls: Promise<void>[] = [];
    for (let index = 0; index < 200; index++) {
      const [from, to] = index % 2 === 0 ? [a, "b"] : [b, "a"];
      const payload = Buffer.alloc(index % 40 === 0 ? 1_000_000 : index * 37, index);
      const call = from.peers.call({ to, kind: 1, payload, deadlineMs: clock.monotonicMs() + 15_000 });
      calls.push(call.then((answer) => expect(answer.equals(payload)).to.equal(true)).then(() => undefined));
    }
    await Promise.all(calls);
    await until("nothing queued", () => a.peers.state("b")!.queuedBytes === 0 && b.peers.state("a")!.queuedBytes === 0);
    const isDown = new Promise<string>((resolve) => a.peers.onDown(resolve));
    await b.peers.close();
    expect(await isDown).to.equal("b");
  });

  it("refuse a member of another authority, whichever side dials, and say so once", async () => {
    const [ours, theirs] = [member("ours", overTls(authority, authority)), member("theirs", overTls(stranger, stranger))];
    const [ourPort, theirPort] = [await ours.listen(), await theirs.listen()];
    for (const [from, port] of [
      [ours, theirPort],
      [theirs, ourPort],
    ] as const) {
      const refusal = (await from.dial(port)) as OperatingError;
      expect(refusal.message).to.contain("its certificate is not signed by the authority in tls-ca");
    }
    // A member that trusts ours, with a certificate of an authority that we do not trust: here we are the ones to refuse.
    const half = member("half", overTls(stranger, authority), { backOffMsMin: 1, backOffMsMax: 2 });
    half.peers.setAddress("ours", { host: HOST, port: ourPort });
    const refusals = (): string[] => ours.warnings.filter((warning) => warning.includes("tls-ca"));
    await until("a refusal", () => refusals().length > 0);
    // It dials again and again; each further refusal follows a failed attempt of its own.
    for (let attempts = 0; attempts < 5; attempts++) await (half.dial(ourPort) as Promise<unknown>);
    expect(refusals()).to.deep.equal([
      `a peer from ${HOST}: the connection broke: its certificate is not signed by the authority in tls-ca`,
    ]);
    expect(half.peers.state("ours")!.status).not.to.equal("connected");
    expect([...ours.peers.peerIds()]).to.deep.equal([]);
  });

  it("do not link with a member that has no TLS, whichever side has it, and the one that is dialled says why", async () => {
    const encrypted = member("encrypted", overTls(authority, authority));
    const plain = member("plain", new NodeNetwork());
    const [encryptedPort, plainPort] = [await encrypted.listen(), await plain.listen()];
    const toPlain = (await encrypted.dial(plainPort)) as OperatingError;
    expect(toPlain.message).to.match(/over TLS: it closed the connection during the TLS handshake: does it speak TLS\?$/);
    await until("a warning", () => plain.warnings.length > 0);
    expect(plain.warnings[0]).to.contain("it speaks TLS, and this node does not: set tls-cert and tls-key here");
    const toEncrypted = (await plain.dial(encryptedPort)) as OperatingError;
    expect(toEncrypted.message).to.match(
      /the peer closed the connection without a hello: .*do both use TLS \(tls-cert\), or neither\?$/,
    );
    await until("a warning", () => encrypted.warnings.length > 0);
    expect(encrypted.warnings[0]).to.contain("it does not speak TLS, and this node does (tls-cert)");
  });

  it("with a common secret refuse whoever stands between them, even where certificates are not asked for", async () => {
    const between = await middle(overTls(stranger, null), await startOf(member("b", overTls(stranger, null), secret)));
    try {
      const a = member("a", overTls(authority, null), secret);
      const outcome = await a.dial(between.port);
      expect(outcome).to.be.instanceOf(PeerRefusal);
      expect((outcome as PeerRefusal).reason).to.equal("secret");
      expect((outcome as PeerRefusal).message).to.contain("decrypts their TLS");
    } finally {
      await between.close();
    }
  });

  it("with a common secret and no authority link when nobody stands between them", async () => {
    const port = await startOf(member("b", overTls(stranger, null), secret));
    expect(await member("a", overTls(authority, null), secret).dial(port)).to.equal("b");
    const wrong = await member("c", overTls(authority, null), { clusterSecret: "another" }).dial(port);
    expect((wrong as PeerRefusal).reason).to.equal("secret");
  });

  it("with neither secret nor authority do link through somebody between them: that is encryption without trust", async () => {
    const between = await middle(overTls(stranger, null), await startOf(member("b", overTls(stranger, null))));
    try {
      expect(await member("a", overTls(authority, null)).dial(between.port)).to.equal("b");
    } finally {
      await between.close();
    }
  });

  it("count handshakes that are not completed among the hellos under way, and close them in time", async () => {
    const b = member("b", overTls(authority, authority), { handshakesMax: 2, helloTimeoutMs: 300 });
    const port = await b.listen();
    const silent = Array.from({ length: 3 }, () => net.connect({ host: HOST, port }));
    let closed = 0;
    for (const socket of silent) socket.on("error", () => undefined).on("close", () => void closed++);
    await until("the third is closed", () => closed === 1);
    expect(b.warnings).to.deep.equal(["too many connections of peers at once; further ones are closed"]);
    await until("the others are closed", () => closed === 3);
    expect(await member("a", overTls(authority, authority)).dial(port)).to.equal("b");
  });
});

const secret = { clusterSecret: "a secret of the cluster" };

function startOf(member: Member): Promise<number> {
  return member.listen();
}
