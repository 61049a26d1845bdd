/** Redis Cluster's mapping of keys to slots: CRC16 (XMODEM) of the key, or of its {hash tag}, modulo 16384. */

export const SLOTS = 16_384;

const OPEN = 0x7b; // {
const CLOSE = 0x7d; // }

const table = buildTable();

/** The slot of a key, 0 to 16383. Only a non-empty tag between the first `{` and the next `}` counts. */
export function slotOf(key: Uint8Array): number {
  const { length } = key;
  let start = 0;
  let end = length;
  for (let at = 0; at < length; at++) {
    if (key[at] !== OPEN) continue;
    const close = key.indexOf(CLOSE, at + 1);
    if (close > at + 1) {
      start = at + 1;
      end = close;
    }
    break;
  }
  let crc = 0;
  for (let at = start; at < end; at++) crc = ((crc << 8) ^ table[((crc >> 8) ^ key[at]!) & 0xff]!) & 0xffff;
  return crc & (SLOTS - 1);
}

function buildTable(): Uint16Array {
  const entries = new Uint16Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
    entries[byte] = crc;
  }
  return entries;
}
