import { expect } from "chai";
import { bytes, type Column, count, duration, instant, percent, printable, renderTable } from "../../lib/cli/table.js";

interface Row {
  readonly name: string;
  readonly size: string;
}

const columns: readonly Column<Row>[] = [
  { title: "name", align: "left", cell: (row) => row.name, paint: (row) => (row.name === "b" ? "bad" : "plain") },
  { title: "size", align: "right", cell: (row) => row.size },
];

describe("tables for people", () => {
  it("align each column at its widest cell or its title", () => {
    const rows = [
      { name: "a", size: "1" },
      { name: "a long name", size: "12,345" },
    ];
    expect(renderTable(columns, rows, { colours: "none" })).to.equal(
      ["NAME           SIZE", "a                 1", "a long name  12,345", ""].join("\n"),
    );
    expect(renderTable(columns, [], { colours: "none" })).to.equal("NAME  SIZE\n");
  });

  it("count characters rather than bytes, and leave nothing behind the last column", () => {
    const left = { ...columns[1]!, align: "left" } as const;
    const rows = [{ name: "köln", size: "1" }];
    expect(renderTable([columns[0]!, left], rows, { colours: "none" })).to.equal("NAME  SIZE\nköln  1\n");
  });

  it("are as wide with colours as without", () => {
    const rows = [
      { name: "a", size: "1" },
      { name: "b", size: "2" },
    ];
    const coloured = renderTable(columns, rows, { colours: "ansi" });
    expect(coloured).to.include("\u001b[31mb\u001b[0m");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for.
    expect(coloured.replace(/\u001b\[\d+m/g, "")).to.equal(renderTable(columns, rows, { colours: "none" }));
  });

  it("spell out what would steer a terminal", () => {
    expect(printable("a\u001b[2Jb\n\u202ec")).to.equal("a\\u{1b}[2Jb\\u{a}\\u{202e}c");
    const rows = [{ name: "\u001b]0;x\u0007", size: "1" }];
    expect(renderTable(columns, rows, { colours: "none" })).not.to.match(/\p{Cc}(?<!\n)/u);
  });
});

describe("figures for people", () => {
  it("have units that fit their size", () => {
    const shown = [0, 1_023, 1_024, 1_536, 102_348, 1_048_575, 5 * 2 ** 40, 2 ** 60].map(bytes);
    expect(shown).to.deep.equal(["0 B", "1023 B", "1.0 KB", "1.5 KB", "99.9 KB", "1.0 MB", "5.0 TB", "1024 PB"]);
    expect([0, 59_999, 60_000, 3_600_000, 47 * 3_600_000, 48 * 3_600_000].map(duration)).to.deep.equal([
      "0 s",
      "59 s",
      "1 min",
      "1 h",
      "47 h",
      "2 d",
    ]);
    expect(duration(-5_000)).to.equal("0 s");
    expect([0, 999, 1_000, 1_234_567].map(count)).to.deep.equal(["0", "999", "1,000", "1,234,567"]);
    expect(percent(59.96)).to.equal("60.0%");
    expect(instant(1_700_000_000_123)).to.equal("2023-11-14 22:13:20.123Z");
  });

  it("show a dash for what nobody told, and for times that are none", () => {
    expect([bytes(null), duration(null), count(null), instant(1e20)]).to.deep.equal(["-", "-", "-", "-"]);
  });
});
