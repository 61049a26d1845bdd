/**
 * Uncompresses Snappy blocks in place, from one reused buffer into another, for the hot path of reads: the package's
 * function makes a new buffer for every block, which costs more than the work (2.9 us against 1.9 us a block of 4 KB, and
 * then a copy and the collection of the garbage). Everything else goes through the package; tests hold both to be equal.
 * The format: github.com/google/snappy/blob/main/format_description.txt.
 */
import { OperatingError } from "../errors.js";

/** A buffer with a view of the same bytes, through which four of them move at once. */
export class WordBuffer {
  readonly bytes: Buffer;
  readonly view: DataView;

  constructor(length: number) {
    this.bytes = Buffer.allocUnsafeSlow(length);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, length);
  }
}

/** The low two bits of a tag: what follows are bytes as they are, or a copy of earlier output, near or further back. */
const LITERAL = 0;
const COPY_1 = 1;
const COPY_2 = 2;

/** The length that `bytes[from, to)` says it has uncompressed. Throws `CORRUPT` when it says none below 2^28. */
export function uncompressedLength(bytes: Buffer, from: number, to: number): number {
  let length = 0;
  for (let at = from, shift = 0; at < to && shift < 28; at++, shift += 7) {
    const byte = bytes[at]!;
    length |= (byte & 127) << shift;
    if (byte < 128) return length;
  }
  throw damaged();
}

/**
 * Uncompresses `source[from, to)` to `target[at, end)`; `end` is `at` and the `uncompressedLength`. Bytes of the target
 * outside stay as they are. Throws `CORRUPT` when the input is not of exactly that length; the output is then undefined.
 */
export function uncompressInto(
  source: WordBuffer,
  from: number,
  to: number,
  target: WordBuffer,
  at: number,
  end: number,
): void {
  const input = source.bytes;
  const output = target.bytes;
  const inputView = source.view;
  const outputView = target.view;
  // A word may reach past the end of a run by three bytes, which the next run overwrites: not at the end.
  const inputWordsEnd = input.length - 4;
  const outputWordsEnd = end - 4;
  let next = from;
  while (input[next]! >= 128) next++;
  next++;
  let put = at;
  while (next < to) {
    const tag = input[next++]!;
    if ((tag & 3) === LITERAL) {
      let length = (tag >>> 2) + 1;
      if (length > 60) {
        // Integers throughout, even for damaged input: with a fraction possible the whole loop would be three times slower.
        const lengthBytes = length - 60;
        length = 0;
        for (let index = 0; index < lengthBytes; index++) length |= input[next + index]! << (8 * index);
        length = (length + 1) | 0;
        next += lengthBytes;
      }
      const runEnd = put + length;
      const inputEnd = next + length;
      if (length <= 0 || inputEnd > to || runEnd > end) throw damaged();
      if (inputEnd <= inputWordsEnd && runEnd <= outputWordsEnd) {
        for (; put < runEnd; put += 4, next += 4) outputView.setInt32(put, inputView.getInt32(next));
      } else {
        while (put < runEnd) output[put++] = input[next++]!;
      }
      put = runEnd;
      next = inputEnd;
    } else {
      let length = (tag >>> 2) + 1;
      let offset: number;
      if ((tag & 3) === COPY_1) {
        length = 4 + ((tag >>> 2) & 7);
        offset = ((tag >>> 5) << 8) | input[next]!;
        next += 1;
      } else if ((tag & 3) === COPY_2) {
        offset = input[next]! | (input[next + 1]! << 8);
        next += 2;
      } else {
        if (next > to - 4) throw damaged();
        offset = inputView.getInt32(next, true);
        next += 4;
      }
      const runEnd = put + length;
      let copied = put - offset;
      if (next > to || offset <= 0 || copied < at || runEnd > end) throw damaged();
      if (offset >= 4 && runEnd <= outputWordsEnd) {
        for (; put < runEnd; put += 4, copied += 4) outputView.setInt32(put, outputView.getInt32(copied));
      } else {
        while (put < runEnd) output[put++] = output[copied++]!;
      }
      put = runEnd;
    }
  }
  if (put !== end) throw damaged();
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a compressed part cannot be uncompressed");
}
