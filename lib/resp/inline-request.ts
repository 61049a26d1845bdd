/**
 * Inline requests: a line of words for people with telnet. Words are split at blanks; quotes are as Redis's: in double
 * quotes \n \r \t \b \a \\ \" and \xHH, in single quotes only \'; a closing quote must be followed by a blank or the end.
 */

const QUOTE = 0x22;
const APOSTROPHE = 0x27;
const BACKSLASH = 0x5c;
const SPACE = 0x20;

/** What a backslash and this letter stand for in double quotes; any other letter stands for itself. */
const ESCAPES: ReadonlyMap<number, number> = new Map([
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
  [0x62, 0x08],
  [0x61, 0x07],
]);

/** The words of `line` (without its line end), each in its own memory; `null` when its quotes are unbalanced. */
export function splitInline(line: Uint8Array): Buffer[] | null {
  const words: Buffer[] = [];
  for (let at = 0; ; ) {
    while (at < line.length && isBlank(line[at]!)) at++;
    if (at === line.length) return words;
    const word: number[] = [];
    const next = readWord(line, at, word);
    if (next === null) return null;
    words.push(Buffer.from(word));
    at = next;
  }
}

/** Reads one word into `word` and returns the position after it; `null` when a quote is not closed or not followed by a blank. */
function readWord(line: Uint8Array, start: number, word: number[]): number | null {
  let at = start;
  while (at < line.length) {
    const byte = line[at]!;
    // Vertical tab and form feed stand between words but do not end one.
    if (byte === SPACE || (byte >= 0x09 && byte <= 0x0d && byte !== 0x0b && byte !== 0x0c)) return at + 1;
    at++;
    if (byte !== QUOTE && byte !== APOSTROPHE) {
      word.push(byte);
      continue;
    }
    const end = byte === QUOTE ? readDoubleQuoted(line, at, word) : readSingleQuoted(line, at, word);
    if (end === null || (end < line.length && !isBlank(line[end]!))) return null;
    return end;
  }
  return at;
}

/** Returns the position after the closing quote. */
function readDoubleQuoted(line: Uint8Array, start: number, word: number[]): number | null {
  for (let at = start; at < line.length; at++) {
    const byte = line[at]!;
    if (byte === QUOTE) return at + 1;
    if (byte !== BACKSLASH || at + 1 === line.length) {
      word.push(byte);
      continue;
    }
    const letter = line[++at]!;
    const high = hexValue(line[at + 1]);
    const low = hexValue(line[at + 2]);
    if (letter === 0x78 && high >= 0 && low >= 0) {
      word.push(high * 16 + low);
      at += 2;
    } else {
      word.push(ESCAPES.get(letter) ?? letter);
    }
  }
  return null;
}

/** Returns the position after the closing quote. */
function readSingleQuoted(line: Uint8Array, start: number, word: number[]): number | null {
  for (let at = start; at < line.length; at++) {
    const byte = line[at]!;
    if (byte === APOSTROPHE) return at + 1;
    if (byte === BACKSLASH && line[at + 1] === APOSTROPHE) at++;
    word.push(line[at]!);
  }
  return null;
}

function isBlank(byte: number): boolean {
  return byte === SPACE || (byte >= 0x09 && byte <= 0x0d);
}

/** -1 when it is no hexadecimal digit. */
function hexValue(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
