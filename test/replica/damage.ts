/** What may become of the bytes of a message on its way, and what whoever reads them may do. */
import fc from "fast-check";
import { OperatingError } from "../../lib/errors.js";

/** Some bytes are others, and perhaps the end is cut off; or nothing of it is left. */
export const damage: fc.Arbitrary<(whole: Uint8Array) => Buffer> = fc
  .record({
    changes: fc.array(fc.record({ at: fc.nat(10_000), to: fc.nat(255), isFlip: fc.boolean() }), { minLength: 1, maxLength: 3 }),
    cut: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(20) }),
    random: fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.uint8Array({ maxLength: 60 }) }),
  })
  .map(({ changes, cut, random }) => (whole) => {
    if (random !== null) return Buffer.from(random);
    const bytes = Buffer.from(whole.subarray(0, Math.max(1, whole.length - cut)));
    for (const { at, to, isFlip } of changes) {
      const place = at % bytes.length;
      bytes[place] = isFlip ? bytes[place]! ^ (1 << (to & 7)) : to;
    }
    return bytes;
  });

export function expectReadOrCorrupt(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
  }
}
