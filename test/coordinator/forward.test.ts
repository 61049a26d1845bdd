/** What a client is told of a request that was passed on: never that nothing has changed while somebody may have made it. */
import { expect } from "chai";
import { LeasesGiven } from "../../lib/coordinator/decision-leases.js";
import { Forward, type Route } from "../../lib/coordinator/forward.js";
import { encodeRefused, ForwardStatus } from "../../lib/coordinator/forward-messages.js";
import type { QuorumContext } from "../../lib/coordinator/quorum-context.js";
import { type ErrorCode, OperatingError } from "../../lib/errors.js";
import type { MemberCall } from "../../lib/replica/remote-replicas.js";
import type { TurnWork } from "../../lib/replica/turn-end.js";

/** As much of a node as a forward uses: calls are kept, the end of the turn comes at once. */
let nowMs = 0;
/** Whether members seem to have stopped, and when any of them last decided something. */
let areSilent = true;
let decidedMs = 0;
let probes = 0;
/** Until when a member was last told that it may begin what waits there. */
let leasedMs = 0;

function fakeNode(): { readonly context: QuorumContext; readonly calls: MemberCall[] } {
  const calls: MemberCall[] = [];
  const context = {
    selfId: "self",
    clock: { monotonicMs: () => nowMs },
    inFlight: { add: () => undefined },
    fetchRing: () => Promise.resolve(),
    turn: { add: (work: TurnWork) => work.committed() },
    health: {
      nowMs: () => nowMs,
      hedgeAfterMs: () => 10,
      // Nothing came since it was asked: nothing of this request has an answer.
      isLate: () => true,
      isAnswering: () => !areSilent,
      silentMs: () => (areSilent ? 300 : 0),
      noteDecision: () => {
        decidedMs = nowMs;
      },
      hasDecidedWithin: (_id: string, ms: number) => nowMs - decidedMs < ms,
    },
    remote: {
      send: (call: MemberCall) => calls.push(call),
      probe: () => {
        probes++;
      },
      notify: ({ deadlineMs }: { deadlineMs: number }) => {
        leasedMs = deadlineMs;
      },
    },
  };
  return { context: context as unknown as QuorumContext, calls };
}

describe("a request that is passed on", () => {
  let calls: MemberCall[];
  let forward: Forward;
  let told: string;
  let leases: LeasesGiven;

  function pass(
    repeats: "never" | "in turn" | "anywhere",
    to: Pick<Route, "candidates" | "here"> = { candidates: ["a", "b"], here: null },
  ): void {
    const node = fakeNode();
    calls = node.calls;
    told = "";
    leases = new LeasesGiven({ remote: node.context.remote, instance: "instance" });
    forward = new Forward(node.context, {
      kind: 1,
      route: () => ({ ...to, payloadFor: () => Buffer.alloc(1) }),
      deadlineMs: nowMs + 2_000,
      repeats,
      ...(repeats === "in turn" && { leases }),
      onAnswer: () => {
        told = "answered";
      },
      onFailure: ({ code, message }) => {
        told = `${code} ${message}`;
      },
    });
    forward.start();
  }

  function refuse(at: number, code: ErrorCode, message: string): void {
    calls[at]!.onAnswer(encodeRefused(new OperatingError(code, message)));
  }

  it("goes to the next member when the first came to it too late, or has no room", () => {
    for (const [code, repeats] of [
      ["TIMEOUT", "in turn"],
      ["BUSY", "anywhere"],
    ] as const) {
      pass(repeats);
      refuse(0, code, "nothing was changed");
      calls[1]!.onAnswer(Buffer.from([ForwardStatus.ok]));
      expect(told).to.equal("answered");
    }
  });

  it("goes to nobody else where the first decides and has too much to do: another would decide differently", () => {
    for (const repeats of ["never", "in turn"] as const) {
      pass(repeats);
      refuse(0, "BUSY", "too much");
      expect(told).to.equal("BUSY too much");
      pass(repeats);
      calls[0]!.onFailure("BUSY", "16384 calls wait for the peer already (callsMax)");
      expect(told).to.match(/^BUSY the node that decides on the key has too much to do: 16384 calls wait/);
      expect(calls).to.have.length(1);
    }
  });

  it("is told as the members tell it when none of them can have made it", () => {
    pass("in turn");
    refuse(0, "TIMEOUT", "too late");
    refuse(1, "ARGUMENT", "too much");
    expect(told).to.equal("ARGUMENT too much");
  });

  it("may take effect when one did not answer, whatever the other says", () => {
    pass("in turn");
    calls[0]!.onFailure("TIMEOUT", "");
    refuse(1, "TIMEOUT", "nothing was changed");
    expect(told).to.equal("QUORUM none of 2 nodes that keep the key answered; it may still take effect");
    pass("anywhere");
    nowMs += 1_000;
    forward.hedge();
    refuse(1, "ARGUMENT", "too many siblings");
    expect(told).to.equal("QUORUM of one node: too many siblings; it may still take effect");
  });

  it("waits for a member that is busy with others, and goes on when it decides nothing any more", () => {
    areSilent = false;
    probes = 0;
    pass("in turn");
    for (let ticks = 0; ticks < 180; ticks++) {
      nowMs += 10;
      // The member answers others; this one stands behind them.
      decidedMs = nowMs;
      forward.hedge();
    }
    expect(calls).to.have.length(1);
    expect(probes, "asked for signs of life").to.be.above(20);
    expect(leasedMs, "keeps its place there").to.equal(nowMs + 250);
    nowMs += 990;
    forward.hedge();
    expect(calls).to.have.length(1);
    nowMs += 10;
    forward.hedge();
    expect(calls).to.have.length(2);
    areSilent = true;
  });

  it("does not wait longer for a silent member because another has all its time there", () => {
    const node = fakeNode();
    const shared = new LeasesGiven({ remote: node.context.remote, instance: "instance" });
    const send = (repeats: "never" | "in turn"): Forward => {
      const sent = new Forward(node.context, {
        kind: 1,
        route: () => ({ candidates: ["a", "b"], here: null, payloadFor: () => Buffer.alloc(1) }),
        deadlineMs: nowMs + 2_000,
        repeats,
        leases: shared,
        onAnswer: () => undefined,
        onFailure: () => undefined,
      });
      sent.start();
      return sent;
    };
    send("never");
    const decision = send("in turn");
    nowMs += 249;
    decision.hedge();
    expect(node.calls.map(({ to }) => to)).to.deep.equal(["a", "a"]);
    nowMs += 1;
    decision.hedge();
    expect(node.calls.map(({ to }) => to)).to.deep.equal(["a", "a", "b"]);
  });

  it("is not steered by a member that was passed by while another has it", async () => {
    const answers: [string, (call: MemberCall) => void][] = [
      ["too late", ({ onAnswer }) => onAnswer(encodeRefused(new OperatingError("TIMEOUT", "too late")))],
      ["broken off", ({ onFailure }) => onFailure("UNAVAILABLE", "")],
      ["too much to do", ({ onFailure }) => onFailure("BUSY", "")],
      ["made elsewhere", ({ onAnswer }) => onAnswer(encodeRefused(new OperatingError("QUORUM", "made elsewhere")))],
      ["a newer ring", ({ onAnswer }) => onAnswer(Buffer.from([ForwardStatus.staleRing]))],
    ];
    for (const [what, answer] of answers) {
      for (const here of [null, () => new Promise<Buffer>(() => undefined)]) {
        pass("in turn", { candidates: here === null ? ["a", "b", "c"] : ["a"], here });
        nowMs += 250;
        forward.hedge();
        const passedOn = calls.length;
        // It lives after all.
        areSilent = false;
        answer(calls[0]!);
        await Promise.resolve();
        areSilent = true;
        expect(calls, what).to.have.length(passedOn);
        expect(told, what).to.equal("");
        if (here !== null) continue;
        calls[1]!.onAnswer(Buffer.from([ForwardStatus.ok]));
        expect(told, what).to.equal("answered");
      }
    }
  });

  it("goes back to a member that was passed by when those after it have failed", () => {
    pass("in turn");
    nowMs += 250;
    forward.hedge();
    calls[1]!.onFailure("UNAVAILABLE", "");
    areSilent = false;
    refuse(0, "TIMEOUT", "too late");
    areSilent = true;
    expect(calls.map(({ to }) => to)).to.deep.equal(["a", "b", "a"]);
  });

  it("may take effect when time is up", () => {
    pass("anywhere");
    forward.expire();
    expect(told).to.match(/^QUORUM .*; it may still take effect$/);
  });

  it("is given to nobody else after a failure where a second run would not be known", () => {
    pass("never");
    refuse(0, "IO", "no room");
    expect(calls).to.have.length(1);
    expect(told).to.equal("IO no room");
  });
});
