import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { PeerRequest } from "../../lib/peer/peer.js";
import { Fence } from "../../lib/replica/fence.js";
import { RoomQueue } from "../../lib/replica/room-queue.js";

interface Probe {
  payload: Buffer;
  isDue: boolean;
  refusal: string | null;
}

function request(bytes: number): Probe & PeerRequest {
  const probe = {
    payload: Buffer.alloc(bytes, 7),
    isDue: false,
    isAnswered: false,
    refusal: null as string | null,
    isLate: () => probe.isDue,
    refuse: (code: string) => {
      probe.refusal = code;
    },
  };
  return probe as unknown as Probe & PeerRequest;
}

describe("requests that store while the disk does not keep up", () => {
  let isStopped: boolean;
  let makeRoom: () => void;
  let queue: RoomQueue;
  let handled: Buffer[];
  const handle = ({ payload }: { payload: Buffer }): void => void handled.push(Buffer.from(payload));

  beforeEach(() => {
    isStopped = true;
    handled = [];
    const room = new Promise<void>((resolve) => {
      makeRoom = () => {
        isStopped = false;
        resolve();
      };
    });
    queue = new RoomQueue({ backlog: () => (isStopped ? "stopped" : "open"), room: () => room, merging: new Fence() });
  });

  it("wait until it does, and keep their bytes", async () => {
    const held = request(3);
    queue.run(held, handle);
    held.payload.fill(0);
    held.payload = Buffer.alloc(0);
    expect(handled).to.deep.equal([]);
    makeRoom();
    await new Promise(setImmediate);
    expect(handled).to.deep.equal([Buffer.from([7, 7, 7])]);
    expect(held.payload).to.have.length(0);
    queue.run(request(1), handle);
    expect(handled, "at once where there is room").to.have.length(2);
  });

  it("are refused when they are too late by then, and when the disk refuses what would make room", async () => {
    const [late, failed] = [request(1), request(1)];
    late.isDue = true;
    queue.run(late, handle);
    makeRoom();
    await new Promise(setImmediate);
    expect(late.refusal).to.equal("LATE");
    isStopped = true;
    const broken = new RoomQueue({
      merging: new Fence(),
      backlog: () => "stopped",
      room: () => Promise.reject(new OperatingError("IO", "no space")),
    });
    broken.run(failed, handle);
    await new Promise(setImmediate);
    expect(failed.refusal).to.equal("FAILED");
    expect(handled).to.deep.equal([]);
  });

  it("are refused at once above 16 MB", () => {
    const held = Array.from({ length: 17 }, () => request(1_048_576));
    for (const each of held) queue.run(each, handle);
    expect(held.filter(({ refusal }) => refusal === "BUSY")).to.have.length(2);
  });
});
