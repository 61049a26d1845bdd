/**
 * Tables and figures for people: aligned columns, human units, and colours where there is a terminal. Pure. What comes from
 * a server is shown with its control characters spelt out, so that a key or a name cannot steer the terminal.
 */

export type Paint = "plain" | "title" | "good" | "doubtful" | "bad";

/** How text is marked: not at all, or by escape sequences for a terminal. */
export interface Style {
  readonly colours: "none" | "ansi";
}

export interface Column<Row> {
  readonly title: string;
  readonly align: "left" | "right";
  readonly cell: (row: Row) => string;
  readonly paint?: (row: Row) => Paint;
}

const GAP = "  ";
const ESCAPE = "\u001b[";
const CODES: Readonly<{ [Kind in Exclude<Paint, "plain">]: string }> = { title: "1", good: "32", doubtful: "33", bad: "31" };

/** A line of titles and one a row, each with its line end. Widths count code points. */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], style: Style): string {
  const cells = rows.map((row) => columns.map((column) => printable(column.cell(row))));
  const widths = columns.map((column, at) => Math.max(...[column.title, ...cells.map((line) => line[at]!)].map(widthOf)));
  const line = (texts: readonly string[], paintOf: (at: number) => Paint): string => {
    const padded = columns.map(({ align }, at) => {
      const room = " ".repeat(widths[at]! - widthOf(texts[at]!));
      const text = painted(texts[at]!, paintOf(at), style);
      // Nothing follows the last column that has to be aligned.
      if (align === "right") return room + text;
      return at === columns.length - 1 ? text : text + room;
    });
    return `${padded.join(GAP).trimEnd()}\n`;
  };
  const titles = columns.map(({ title }) => title.toUpperCase());
  const head = line(titles, () => "title");
  return head + cells.map((texts, at) => line(texts, (column) => columns[column]!.paint?.(rows[at]!) ?? "plain")).join("");
}

export function painted(text: string, paint: Paint, { colours }: Style): string {
  if (paint === "plain" || colours === "none" || text === "") return text;
  return `${ESCAPE}${CODES[paint]}m${text}${ESCAPE}0m`;
}

/** Control characters and invisible ones as `\u{1b}`. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);
}

/** What is shown for a figure that nobody has told. */
export const UNKNOWN = "-";

/** `1,234`. */
export function count(value: number | null): string {
  return value === null ? UNKNOWN : String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `60.2%`. */
export function percent(value: number): string {
  return `${value.toFixed(1)}%`;
}

/** `1.5 GB`, in units of 1,024. */
export function bytes(value: number | null): string {
  if (value === null) return UNKNOWN;
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let amount = value;
  let unit = 0;
  // What would be rounded to 1024.0 is 1.0 of the next unit.
  while (amount >= 1_023.95 && unit < units.length - 1) {
    amount /= 1_024;
    unit++;
  }
  return `${unit === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${units[unit]}`;
}

/** `45 s`, `12 min`, `3 h`, `9 d`: the largest unit that fits, rounded down. Null for what never was. */
export function duration(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `2026-01-31 12:00:00.000Z`, for Unix time in milliseconds. */
export function instant(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? UNKNOWN : date.toISOString().replace("T", " ");
}

/** `1 copy`, `3 copies`. */
export function plural(value: number, one: string, many: string): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function widthOf(text: string): number {
  return [...text].length;
}
