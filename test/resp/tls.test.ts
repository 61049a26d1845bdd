/** The front end over TLS on real sockets: what it serves, whom it lets in, and what is said of whom it does not. */
import net from "node:net";
import type tls from "node:tls";
import { expect } from "chai";
import type { Minted } from "../host/certificates.js";
import { authority, Client, FrontEnd, HOST, stranger, until } from "../host/tls-front-end.js";
import { request } from "./harness.js";

const DAY_MS = 86_400_000;

describe("the front end over TLS", () => {
  let front: FrontEnd;

  beforeEach(() => {
    front = new FrontEnd();
  });

  afterEach(() => front.end());

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    describe(version, () => {
      const connect = (): Client => front.connect({ minVersion: version, maxVersion: version });

      beforeEach(() => front.overTls());

      it("answers a deep pipeline in order, and large values unharmed", async () => {
        const [deep, large] = [connect(), connect()];
        const stream = Array.from({ length: 20_000 }, (_, i) => request("E", `value ${i}`)).join("");
        const word = "0123456789abcdef".repeat(250_000);
        deep.send(stream);
        large.send(request("E", word));
        await until("all answers", () => deep.received.length >= stream.length && large.received.length >= word.length + 20);
        expect(deep.received === stream).to.equal(true);
        expect(large.received === request("E", word)).to.equal(true);
      });

      it("answers after the client's end of a half-closed connection, then closes", async () => {
        const client = connect();
        client.socket.end(request("LATER", "1") + request("PING"));
        await until("the request", () => front.dispatcher.held.length === 1);
        front.dispatcher.held[0]!.answer();
        await until("the close", () => client.isClosed);
        expect(client.received).to.equal(`${request("LATER", "1")}+PONG\r\n`);
        await until("the session's end", () => front.dispatcher.sessions.size === 0);
        expect(client.error).to.equal("");
      });

      it("QUIT closes after its answer, and still takes what the client sends until it closes too", async () => {
        const client = connect();
        client.send(request("PING") + request("QUIT") + request("PING"));
        await until("the end", () => client.hasEnded);
        expect(client.received).to.equal("+PONG\r\n+OK\r\n");
        client.socket.end(request("PING"));
        await until("the session's end", () => front.dispatcher.sessions.size === 0);
        expect([client.error, front.dispatcher.ran.length]).to.deep.equal(["", 2]);
      });
    });
  }

  it("a client that does not read is paused, then served when it reads", async () => {
    front.settings.outputSharedBytes = 1_048_576;
    await front.overTls();
    const client = front.connect();
    await until("the handshake", () => client.isSecure);
    client.socket.pause();
    const requests = 4_000;
    client.send(request("BIG", "10000").repeat(requests));
    await until("the pause", () => front.server.unsentBytes > 1_048_576);
    expect(front.dispatcher.ran.length).to.be.below(requests);
    expect(front.server.unsentBytes).to.be.below(16 * 1_048_576);
    client.socket.resume();
    await until("all answers", () => client.received.length === requests * 10_010);
  }).timeout(20_000);

  it("replies that have left do not count as unsent while the connection is idle", async () => {
    await front.overTls();
    const client = front.connect();
    client.send(request("BIG", "1000"));
    await until("the answer", () => client.received.length === 1_009);
    await until("nothing unsent", () => front.server.unsentBytes === 0);
    const large = 1_000_000;
    client.send(request("BIG", String(large)));
    await until("the answer", () => client.received.length > large);
    await until("nothing unsent", () => front.server.unsentBytes === 0);
  });

  it("an abrupt reset ends the session and nothing else", async () => {
    await front.overTls();
    const raw = net.connect({ host: HOST, port: front.port });
    const [client, other] = [front.connect({ socket: raw }), front.connect()];
    client.send(request("LATER", "1"));
    await until("the request", () => front.dispatcher.held.length === 1);
    raw.resetAndDestroy();
    await until("the session's end", () => front.dispatcher.sessions.size === 1);
    front.dispatcher.held[0]!.answer();
    other.send(request("PING"));
    await until("the other's answer", () => other.received === "+PONG\r\n");
  });

  it("stop closes the port, waits for what is in flight, and for no handshake", async () => {
    await front.overTls();
    const client = front.connect();
    const silent = front.keep(Client.plain(front.port));
    client.send(request("LATER", "1"));
    await until("the request", () => front.dispatcher.held.length === 1 && front.server.clients === 2);
    const stopped = front.server.stop(500);
    client.socket.on("end", () => client.socket.end());
    front.dispatcher.held[0]!.answer();
    await stopped;
    await until("both ends", () => client.hasEnded && silent.isOver);
    expect(client.received).to.equal(request("LATER", "1"));
  });

  it("a connection counts against maxclients from before its handshake", async () => {
    front.settings.maxClients = 2;
    await front.overTls();
    const silent = [front.keep(Client.plain(front.port)), front.keep(Client.plain(front.port))];
    await until("both are counted", () => front.server.clients === 2);
    const third = front.connect();
    await until("the refusal", () => third.hasEnded);
    expect(third.received).to.equal("-ERR max number of clients reached\r\n");
    silent[0]!.socket.destroy();
    await until("a free place", () => front.server.clients === 1);
    const fourth = front.connect();
    fourth.send(request("PING"));
    await until("the answer", () => fourth.received === "+PONG\r\n");
  });

  it("a handshake that is not completed in time is closed and told of, however slowly it goes on", async () => {
    await front.overTls({ handshakeMsMax: 100 });
    const [silent, slow] = [front.keep(Client.plain(front.port)), front.keep(Client.plain(front.port))];
    // The head of a record that announces a handshake of 512 bytes, which then comes a byte at a time.
    slow.socket.write(Buffer.of(0x16, 3, 1, 2, 0));
    const drip = setInterval(() => slow.socket.write(Buffer.of(1)), 20);
    try {
      await until("both are closed", () => silent.isOver && slow.isOver);
    } finally {
      clearInterval(drip);
    }
    await until("both sessions' ends", () => front.server.clients === 0);
    const text = `${HOST}: it completed no TLS handshake within 100 ms`;
    expect(front.refusals).to.deep.equal([text, text]);
  });

  it("who leaves before the handshake is over is forgotten without a word", async () => {
    await front.overTls();
    for (const isAbrupt of [false, true]) {
      const client = front.keep(Client.plain(front.port));
      await until("the connection", () => front.server.clients === 1);
      if (isAbrupt) client.socket.resetAndDestroy();
      else client.socket.end();
      await until("the session's end", () => front.server.clients === 0);
    }
    expect(front.dispatcher.ran).to.deep.equal([]);
  });

  it("a client without TLS is refused, and the reason told", async () => {
    await front.overTls();
    for (const words of [
      request("PING"),
      "PING\r\n",
      "GET / HTTP/1.1\r\nHost: here\r\n\r\n",
      "\x00\x00\x00\x5bKNDP and so on",
    ]) {
      front.refusals.length = 0;
      const client = front.keep(Client.plain(front.port));
      client.send(words);
      await until(`the close after ${words}`, () => client.isOver);
      await until("the session's end", () => front.server.clients === 0);
      expect(front.refusals).to.deep.equal([
        `${HOST}: it does not speak TLS, and this node does (tls-cert): use TLS on both sides, or on none`,
      ]);
    }
    expect(front.dispatcher.ran).to.deep.equal([]);
  });

  it("a client that does not trust the certificate leaves, and others are served", async () => {
    await front.overTls();
    const client = front.connect({ ca: stranger.cert, maxVersion: "TLSv1.2" });
    await until("the close", () => client.isClosed);
    expect(client.error).to.match(/self-signed certificate|unable to verify/);
    await until("the session's end", () => front.server.clients === 0);
    expect(front.dispatcher.ran).to.deep.equal([]);
  });

  it("versions of TLS below 1.2 are refused, and the reason told", async () => {
    await front.overTls();
    const client = front.connect({ minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" });
    await until("the close", () => client.isClosed);
    expect(front.refusals).to.deep.equal([`${HOST}: it speaks no version of TLS that this node accepts`]);
  });

  const late = { validFrom: new Date(Date.now() - 2 * DAY_MS), validTo: new Date(Date.now() - DAY_MS) };
  const early = { validFrom: new Date(Date.now() + DAY_MS), validTo: new Date(Date.now() + 2 * DAY_MS) };
  const shown: readonly { title: string; minted: Minted | null; why: string }[] = [
    { title: "no certificate", minted: null, why: "it presented no certificate, and one signed by the authority in tls-ca" },
    {
      title: "a certificate of another authority",
      minted: stranger.issue("client"),
      why: "its certificate is not signed by the authority in tls-ca",
    },
    { title: "an expired certificate", minted: authority.issue("client", late), why: "its certificate has expired" },
    {
      title: "a certificate of the future",
      minted: authority.issue("client", early),
      why: "its certificate is not valid yet",
    },
    {
      title: "a certificate for servers only",
      minted: authority.issue("client", { usages: ["serverAuth"] }),
      why: "its certificate is not for this use",
    },
  ];
  for (const { title, minted, why } of shown) {
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      it(`refuses ${title} where one is asked for, before any request runs (${version})`, async () => {
        await front.overTls({ asks: "yes" });
        const client = front.connect({ maxVersion: version, minVersion: version, ...minted });
        client.send(request("PING"));
        await until("the close", () => client.isOver);
        await until("the session's end", () => front.server.clients === 0);
        expect([client.received, front.dispatcher.ran.length, front.refusals.length]).to.deep.equal(["", 0, 1]);
        expect(front.refusals[0]).to.contain(`${HOST}: ${why}`);
      });
    }

    it(`${minted === null ? "serves" : "refuses"} ${title} where one is optional`, async () => {
      await front.overTls({ asks: "optional" });
      const client = front.connect({ ...minted });
      client.send(request("PING"));
      await until("an outcome", () => client.isOver || client.received !== "");
      expect(client.received).to.equal(minted === null ? "+PONG\r\n" : "");
      expect(front.refusals.length).to.equal(minted === null ? 0 : 1);
    });

    it(`does not look at ${title} where none is asked for`, async () => {
      await front.overTls();
      const client = front.connect({ ...minted });
      client.send(request("PING"));
      await until("the answer", () => client.received === "+PONG\r\n");
    });
  }

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    it(`serves a good certificate, also on a resumed session (${version})`, async () => {
      await front.overTls({ asks: "yes" });
      const options = { ...authority.issue("client", { usages: ["clientAuth"] }), maxVersion: version, minVersion: version };
      const first = front.connect(options);
      first.send(request("PING"));
      await until("the answer", () => first.received === "+PONG\r\n" && first.session !== null);
      const second = front.connect({ ...options, session: first.session! });
      second.send(request("PING"));
      await until("the answer", () => second.received === "+PONG\r\n");
      expect((second.socket as tls.TLSSocket).isSessionReused()).to.equal(true);
      expect(front.refusals).to.deep.equal([]);
    });

    it(`a client that is refused for want of a certificate is given no session to resume (${version})`, async () => {
      await front.overTls({ asks: "yes" });
      const client = front.connect({ maxVersion: version, minVersion: version });
      await until("the close", () => client.isOver && front.server.clients === 0);
      expect(client.session).to.equal(null);
      expect(front.refusals.length).to.equal(1);
    });
  }
});
