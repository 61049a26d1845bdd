/** How large a key and its value may be. */
import { OperatingError } from "../errors.js";
import { RAW_KEY_BYTES_MAX } from "../replica/data-key.js";

/** `pairBytesMax`: of both together. Throws ARGUMENT. */
export function checkPairBytes(keyBytes: number, valueBytes: number, pairBytesMax: number): void {
  const length = keyBytes + valueBytes;
  if (length > pairBytesMax) {
    throw new OperatingError(
      "ARGUMENT",
      `key and value take ${length} bytes together; the limit is ${pairBytesMax} (max-pair-bytes)`,
    );
  }
  if (keyBytes > RAW_KEY_BYTES_MAX) {
    throw new OperatingError("ARGUMENT", `the key takes ${keyBytes} bytes; the limit is ${RAW_KEY_BYTES_MAX}`);
  }
}
