/** A record as it is stored and sent: in `bytes[start, end)`. */
export interface EncodedRecord {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /**
   * Where in `bytes` the pair begins as whose value the record stands there: length and bytes of the data key, length of the
   * record. NO_PAIR where it does not.
   */
  readonly pairStart: number;
}

export const NO_PAIR = -1;

/** All of `bytes`. */
export function encodedRecordOf(bytes: Uint8Array): EncodedRecord {
  return { bytes, start: 0, end: bytes.length, pairStart: NO_PAIR };
}

/** A copy of it that is the caller's. */
export function ownedBytesOf({ bytes, start, end }: EncodedRecord): Buffer {
  return Buffer.from(bytes.subarray(start, end));
}
