/** Reads one RESP value, for tests that care for what is in a reply rather than for its bytes. */

export type Value = string | number | null | Value[] | Map<string, Value> | { readonly error: string };

/** Throws when the text is not exactly one value. */
export function decode(text: string): Value {
  const reader = { text, at: 0 };
  const value = readValue(reader);
  if (reader.at !== text.length) throw new Error(`${text.length - reader.at} bytes are left over`);
  return value;
}

interface Reader {
  readonly text: string;
  at: number;
}

function readValue(reader: Reader): Value {
  const end = reader.text.indexOf("\r\n", reader.at);
  if (end < 0) throw new Error("the reply is cut off");
  const type = reader.text[reader.at]!;
  const line = reader.text.slice(reader.at + 1, end);
  reader.at = end + 2;
  switch (type) {
    case "+":
      return line;
    case "-":
      return { error: line };
    case ":":
      return Number(line);
    case "_":
      return null;
    case "$":
      return Number(line) < 0 ? null : readBytes(reader, Number(line));
    case "=":
      return readBytes(reader, Number(line)).slice("txt:".length);
    case "*":
    case "~":
    case ">":
      return Number(line) < 0 ? null : Array.from({ length: Number(line) }, () => readValue(reader));
    case "%":
      return new Map(Array.from({ length: Number(line) }, () => [String(readValue(reader)), readValue(reader)]));
    default:
      throw new Error(`no type of RESP: ${JSON.stringify(type)}`);
  }
}

function readBytes(reader: Reader, length: number): string {
  const bytes = reader.text.slice(reader.at, reader.at + length);
  if (reader.text.slice(reader.at + length, reader.at + length + 2) !== "\r\n") throw new Error("a bulk string is cut off");
  reader.at += length + 2;
  return bytes;
}
