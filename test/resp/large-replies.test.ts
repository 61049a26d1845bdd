/** Replies beyond what one string can hold: refused one by one, and never joined into one. */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { REPLY_BYTES_MAX, Reply } from "../../lib/resp/reply.js";
import { ReplyQueue, Waiting } from "../../lib/resp/reply-queue.js";

const MB = 1_048_576;

describe("large replies", () => {
  it("a reply that would exceed its bound is refused with an error that says so, and what was there stays", () => {
    const reply = new Reply(2);
    const value = "x".repeat(60 * MB);
    for (let i = 0; i < 4; i++) reply.bulk(value);
    const { length } = reply;
    expect(length).to.be.below(REPLY_BYTES_MAX);
    for (const grow of [() => reply.bulk(value), () => reply.raw(value)]) {
      expect(grow).to.throw(OperatingError, `the reply would exceed ${REPLY_BYTES_MAX} bytes`);
    }
    expect(reply.length).to.equal(length);
  });

  it("many late answers that become ready at once leave in parts, in order, with their writes marked", () => {
    const queue = new ReplyQueue({ turn: 0 });
    const waiting = Array.from({ length: 6 }, () => new Waiting(2, queue));
    for (const [i, one] of waiting.entries()) {
      queue.wait(one);
      one.reply.raw(String(i).repeat(3 * MB));
      one.isWrite = i % 2 === 1;
      const { reply } = queue.current;
      reply.raw("|");
      queue.addedSync(0, "no write");
    }
    for (const one of waiting.slice(1)) one.finish();
    expect(queue.readyBytes).to.equal(0);
    waiting[0]!.finish();
    let text = "";
    const marked: string[] = [];
    while (!queue.isEmpty) {
      expect(queue.readyBytes).to.be.within(1, 4 * MB);
      const output = queue.take();
      text += output.text;
      for (let i = 0; i < output.writes.length; i += 2) {
        const part = output.text.slice(output.writes[i], output.writes[i + 1]);
        expect(part.length).to.equal(3 * MB);
        marked.push(part[0]!);
      }
    }
    expect(text === "012345".replace(/./g, (digit) => `${digit.repeat(3 * MB)}|`)).to.equal(true);
    expect(marked).to.deep.equal(["1", "3", "5"]);
    expect(queue.heldUpBytes).to.equal(0);
  });
});
