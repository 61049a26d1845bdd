import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import {
  decodeRelay,
  decodeRelayed,
  RELAYED_BYTES,
  relayHeadBytes,
  writeRelayed,
  writeRelayHead,
} from "../../lib/replica/relay-messages.js";
import { idOf } from "./copies.js";

describe("messages of relays", () => {
  const targets = [idOf(2), idOf(0xabcdef)];
  const batch = Buffer.from("a batch");

  function relay(): Buffer {
    const bytes = Buffer.alloc(relayHeadBytes(targets) + batch.length);
    const at = writeRelayHead(bytes, 0, 2 ** 32 - 1, targets);
    batch.copy(bytes, at);
    return bytes;
  }

  it("say who is to have the batch, byte for byte as FORMATS has it", () => {
    expect(relay().toString("hex")).to.equal(`ffffffff02${"0".repeat(15)}2${"0".repeat(10)}abcdef${batch.toString("hex")}`);
    expect(decodeRelay(relay())).to.deep.equal({ number: 2 ** 32 - 1, targets, batch });
    const asked = Buffer.alloc(RELAYED_BYTES);
    expect(writeRelayed(asked, 0, 7, 1)).to.equal(RELAYED_BYTES);
    expect(decodeRelayed(asked)).to.deep.equal({ number: 7, target: 1 });
  });

  it("are refused as damaged when they are cut off, or name nobody", () => {
    for (let length = 0; length < relayHeadBytes(targets); length++) {
      expect(() => decodeRelay(relay().subarray(0, length)), `${length} bytes`).to.throw(OperatingError, "damaged");
    }
    expect(() => decodeRelay(Buffer.from([0, 0, 0, 1, 0, 9]))).to.throw(OperatingError, "damaged");
    expect(() => decodeRelayed(Buffer.alloc(RELAYED_BYTES + 1))).to.throw(OperatingError, "damaged");
  });
});
