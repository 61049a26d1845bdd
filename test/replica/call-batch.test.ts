import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { BatchAnswers, type BatchedCall, BatchReader, BatchWriter } from "../../lib/replica/call-batch.js";
import { AnswerStatus, ReplicaKind } from "../../lib/replica/replica-messages.js";

const TO = "00112233445566ff";

/** A call that notes what it is told. */
class NotedCall implements BatchedCall {
  readonly to = TO;
  readonly kind: number;
  readonly deadlineMs: number;
  readonly told: string[] = [];

  constructor(kind: number = ReplicaKind.store, deadlineMs = 1_000) {
    this.kind = kind;
    this.deadlineMs = deadlineMs;
  }

  onAnswer(payload: Buffer): void {
    this.told.push(`answer ${payload.toString("hex")}`);
  }

  onFailure(code: string): void {
    this.told.push(code);
  }

  onAlone(): void {
    this.told.push("alone");
  }
}

function add(batch: BatchWriter, call: BatchedCall, payload: string): void {
  const at = batch.begin(payload.length);
  batch.end(call, at + batch.bytes.write(payload, at, "latin1"));
}

/** A batch of so many calls, as it is sent. */
function batchOf(calls: readonly NotedCall[], payload = "payload"): ReturnType<BatchWriter["take"]> {
  const batch = new BatchWriter(TO);
  for (const call of calls) add(batch, call, payload);
  return batch.take();
}

describe("calls that travel together", () => {
  it("arrive as they were sent, in order", () => {
    const batch = new BatchWriter(TO);
    const sent = [
      { kind: ReplicaKind.store, payload: "first" },
      { kind: ReplicaKind.read, payload: "" },
      { kind: ReplicaKind.store, payload: "x".repeat(10_000) },
      { kind: ReplicaKind.read, payload: "last" },
    ];
    for (const { kind, payload } of sent) add(batch, new NotedCall(kind), payload);
    const { call, payload } = batch.take();
    expect(call).to.include({ to: TO, kind: ReplicaKind.batch, deadlineMs: 1_000 });
    const reader = new BatchReader(payload);
    const received: typeof sent = [];
    while (reader.next())
      received.push({ kind: reader.kind as 3, payload: payload.toString("latin1", reader.start, reader.end) });
    expect(received).to.deep.equal(sent);
    expect(batch.isEmpty).to.equal(true);
  });

  it("have the latest deadline of all, and only near ones travel together", () => {
    const batch = new BatchWriter(TO);
    add(batch, new NotedCall(ReplicaKind.store, 1_000), "a");
    expect(batch.hasRoom(new NotedCall(ReplicaKind.store, 1_050), 1)).to.equal(true);
    add(batch, new NotedCall(ReplicaKind.store, 1_050), "b");
    expect(batch.hasRoom(new NotedCall(ReplicaKind.store, 990), 1)).to.equal(false);
    expect(batch.hasRoom(new NotedCall(ReplicaKind.store, 1_200), 1)).to.equal(false);
    expect(batch.take().call.deadlineMs).to.equal(1_050);
    expect(batch.hasRoom(new NotedCall(ReplicaKind.store, 1_200), 1)).to.equal(true);
  });

  it("are bounded in bytes and in number", () => {
    for (const payload of ["x", "x".repeat(1_000)]) {
      const batch = new BatchWriter(TO);
      let calls = 0;
      for (; batch.hasRoom(new NotedCall(), payload.length); calls++) add(batch, new NotedCall(), payload);
      expect(calls).to.be.within(60, 512);
      expect(batch.take().payload.length).to.be.at.most(65_536);
    }
  });

  it("are told each its answer", () => {
    const calls = [new NotedCall(), new NotedCall(), new NotedCall(), new NotedCall(), new NotedCall()];
    const { call } = batchOf(calls);
    const answers = new BatchAnswers();
    answers.addStatus(AnswerStatus.ok);
    answers.addStatus(AnswerStatus.staleRing);
    answers.addAlone();
    answers.add(Buffer.from("abc"));
    answers.addRecord(Buffer.alloc(300, "r"), 100, 300);
    call.onAnswer(answers.take());
    const record = Buffer.alloc(200, "r").toString("hex");
    expect(calls.map(({ told }) => told)).to.deep.equal([
      ["answer 00"],
      ["answer 01"],
      ["alone"],
      [`answer ${Buffer.from("abc").toString("hex")}`],
      [`answer 00${record}`],
    ]);
    // A second outcome would be a fault of the link; nothing is left to tell.
    call.onFailure("TIMEOUT", "");
    expect(calls.every(({ told }) => told.length === 1)).to.equal(true);
  });

  it("fail together when the batch fails", () => {
    const calls = [new NotedCall(), new NotedCall()];
    batchOf(calls).call.onFailure("UNAVAILABLE", "");
    expect(calls.map(({ told }) => told)).to.deep.equal([["UNAVAILABLE"], ["UNAVAILABLE"]]);
  });

  it("fail from where the answer is damaged", () => {
    for (const answer of [
      [1, 0],
      [1, 0, 5, 1],
      [1, 0, 128],
      [1, 0, 128, 128, 1, 0],
    ]) {
      const calls = [new NotedCall(), new NotedCall(), new NotedCall()];
      batchOf(calls).call.onAnswer(Buffer.from(answer));
      expect(
        calls.map(({ told }) => told),
        answer.join(),
      ).to.deep.equal([["answer 00"], ["FAILED"], ["FAILED"]]);
    }
  });

  it("are asked alone where their answers find no room", () => {
    const calls = [new NotedCall(ReplicaKind.read), new NotedCall(ReplicaKind.read), new NotedCall(ReplicaKind.read)];
    const { call } = batchOf(calls);
    const answers = new BatchAnswers();
    const record = Buffer.alloc(900_000);
    answers.addRecord(record, 0, record.length);
    answers.addRecord(record, 0, record.length);
    answers.addRecord(record, 0, 10);
    expect(answers.view().length).to.be.below(1_048_576);
    call.onAnswer(answers.take());
    expect(calls.map(({ told }) => told[0]!.slice(0, 6))).to.deep.equal(["answer", "alone", "answer"]);
  });

  it("are damage where they are cut off", () => {
    const { payload } = batchOf([new NotedCall(), new NotedCall()]);
    for (let length = 1; length < payload.length; length++) {
      const reader = new BatchReader(payload.subarray(0, length));
      const readAll = (): void => {
        while (reader.next());
      };
      if (2 * length === payload.length) expect(readAll).not.to.throw();
      else expect(readAll, `${length} bytes`).to.throw(OperatingError);
    }
  });
});
