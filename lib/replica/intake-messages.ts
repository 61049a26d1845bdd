/**
 * How far a member is with what a change of the ring gives it: docs/FORMATS.md, "Peer protocol".
 *
 *     INTAKE: ring version varint
 *         answer: status u8 | done u8 | slots done varint | slots varint | records varint | bytes varint
 */
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { AnswerStatus } from "./replica-messages.js";
import type { IntakeProgress } from "./slot-intake.js";

export function encodeIntakeRequest(ringVersion: number): Buffer {
  const bytes = Buffer.allocUnsafe(varintLength(ringVersion));
  writeVarint(bytes, 0, ringVersion);
  return bytes;
}

/** The version of the ring that is asked about. Throws CORRUPT. */
export function decodeIntakeRequest(bytes: Buffer): number {
  return readVarint(bytes, { at: 0 }, bytes.length);
}

export function encodeIntakeAnswer({ isDone, slotsDone, slots, records, bytes }: IntakeProgress): Buffer {
  const numbers = [slotsDone, slots, records, bytes];
  const answer = Buffer.allocUnsafe(2 + numbers.reduce((sum, number) => sum + varintLength(number), 0));
  answer[0] = AnswerStatus.ok;
  answer[1] = isDone ? 1 : 0;
  let at = 2;
  for (const number of numbers) at = writeVarint(answer, at, number);
  return answer;
}

/** Of an answer with status `ok`. Throws CORRUPT. */
export function decodeIntakeAnswer(answer: Buffer): IntakeProgress {
  const cursor: Cursor = { at: 2 };
  const next = (): number => readVarint(answer, cursor, answer.length);
  return { isDone: answer[1] === 1, slotsDone: next(), slots: next(), records: next(), bytes: next() };
}
