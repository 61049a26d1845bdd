/** Data directories of other builds: what an earlier one wrote is read, what a later one wrote is refused in words. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { expect } from "chai";
import { crc32 } from "../../lib/bytes/crc32.js";
import { runKindred } from "./program.js";
import { serversOfTest } from "./server-process.js";

/**
 * The files of a store that the last build of protocol 1 wrote and that was killed then: a table, a log, a manifest. JSON by
 * name, bytes as latin1. Held: 130 values of 9000 bytes, of which one was removed again, one that expires in 2100, one in
 * database 3, and one with two siblings.
 */
const STORED = fileURLToPath(new URL("../../../test/e2e/store-of-protocol-1.br", import.meta.url));
const TABLE = "00000001.table";
const LOG = "00000002.log";
const FOOTER_BYTES = 32;
const FOOTER_CHECKED_BYTES = 24;
const SEGMENT_CHECKED_BYTES = 32;

describe("a data directory of another build", function () {
  this.timeout(40_000);
  const servers = serversOfTest();

  /** A directory with the store, whose files may be changed before. */
  function directoryWith(change: (files: Map<string, Buffer>) => void = () => undefined): string {
    const directory = servers.makeDirectory();
    const stored = JSON.parse(brotliDecompressSync(readFileSync(STORED)).toString()) as Record<string, string>;
    const files = new Map(Object.entries(stored).map(([name, text]) => [name, Buffer.from(text, "latin1")]));
    change(files);
    mkdirSync(join(directory, "store"));
    for (const [name, bytes] of files) writeFileSync(join(directory, "store", name), bytes);
    return directory;
  }

  it("of an earlier one is opened, and holds what it held", async () => {
    const server = await servers.start({ directory: directoryWith(), settings: { "memory-table-bytes": "1mb" } });
    expect(server.log.find(({ msg }) => msg.startsWith("ready"))).to.include({ lastStop: "unclean" });
    const client = await server.connect();
    expect(await client.call("GET", "plain")).to.equal("value");
    expect(await client.call("PEXPIRETIME", "expires")).to.equal(4_102_444_800_000);
    expect(String(await client.call("GET", "fill:7"))).to.equal("v".repeat(9_000));
    expect(await client.call("EXISTS", "fill:130")).to.equal(0);
    expect(await client.call("DBSIZE")).to.equal(129 + 4);
    const [, siblings] = (await client.call("SIBLINGS", "twice")) as [string, [string][]];
    expect(siblings.map(([value]) => value)).to.deep.equal(["three", "two"]);
    expect(await client.call("SET", "plain", "later")).to.equal("OK");
    await client.call("SELECT", "3");
    expect(await client.call("GET", "other")).to.equal("db3");
    await client.close();
    await server.terminate();
    const check = await runKindred(["check", server.directory]);
    expect(check.code, check.stdout).to.equal(0);
  });

  const later: readonly { readonly what: string; readonly change: (files: Map<string, Buffer>) => void }[] = [
    { what: "manifest", change: (files) => void files.get("manifest")!.writeUInt32LE(2, 8) },
    {
      what: LOG,
      change: (files) => {
        const bytes = files.get(LOG)!;
        bytes.writeUInt32LE(2, 8);
        bytes.writeUInt32LE(crc32(bytes, 0, SEGMENT_CHECKED_BYTES), SEGMENT_CHECKED_BYTES);
      },
    },
    {
      what: "table",
      change: (files) => {
        const bytes = files.get(TABLE)!;
        const start = bytes.length - FOOTER_BYTES;
        bytes.writeUInt16LE(2, start + 20);
        bytes.writeUInt32LE(crc32(bytes, start, start + FOOTER_CHECKED_BYTES), start + FOOTER_CHECKED_BYTES);
      },
    },
  ];
  for (const { what, change } of later) {
    it(`of a later one is refused, and both versions are named, where its ${what} says so`, async () => {
      const directory = directoryWith(change);
      const args = ["--port", "0", "--peer-port", "0", "--dir", directory, "--log-format", "json"];
      const { code, stdout, stderr } = await runKindred(["server", ...args]);
      expect(code).to.equal(1);
      expect(stdout + stderr)
        .to.include(what)
        .and.include("has format version 2; this program reads version 1: use the program that wrote it");
    });
  }
});
