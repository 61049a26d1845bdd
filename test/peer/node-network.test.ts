/** Links on real sockets and real time. */
import { expect } from "chai";
import { NodeClock } from "../../lib/host/node-clock.js";
import { NodeNetwork } from "../../lib/host/node-network.js";
import { NodeRandom } from "../../lib/host/node-random.js";
import { silentLog } from "../../lib/log.js";
import { defaultPeerSettings, Peers } from "../../lib/peer/peer.js";

const HOST = "127.0.0.1";

function peersOf(id: string): Peers {
  return new Peers({
    network: new NodeNetwork(),
    clock: new NodeClock(),
    random: new NodeRandom(),
    log: silentLog,
    settings: { ...defaultPeerSettings(), clusterSecret: "secret" },
    identity: () => ({ peerId: id, clusterId: null, settings: Buffer.alloc(0) }),
    admit: () => null,
  });
}

describe("peers on real sockets", () => {
  it("carry calls of all sizes both ways at once, and tell when the other closes", async () => {
    const [a, b] = [peersOf("a"), peersOf("b")];
    try {
      for (const peers of [a, b]) peers.serve(1, (request) => request.answer(request.payload));
      const port = await b.listen({ host: HOST, port: 0 });
      b.setAddress("a", { host: HOST, port: await a.listen({ host: HOST, port: 0 }) });
      expect(await a.dial({ host: HOST, port })).to.equal("b");
      if (!b.isUsable("a")) await new Promise<void>((resolve) => b.onUp(() => resolve()));
      const clock = new NodeClock();
      const calls: Promise<void>[] = [];
      for (let index = 0; index < 400; index++) {
        const [from, to] = index % 2 === 0 ? [a, "b"] : [b, "a"];
        const payload = Buffer.alloc(index % 40 === 0 ? 1_000_000 : index * 37, index);
        const call = from.call({ to, kind: 1, payload, deadlineMs: clock.monotonicMs() + 15_000 });
        calls.push(call.then((answer) => expect(answer.equals(payload)).to.equal(true)).then(() => undefined));
      }
      await Promise.all(calls);
      const isDown = new Promise<string>((resolve) => a.onDown(resolve));
      await b.close();
      expect(await isDown).to.equal("b");
    } finally {
      await a.close();
      await b.close();
    }
  });
});
