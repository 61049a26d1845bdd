/**
 * A disk that is full: a small file system of the test's own, filled up by writes. Needs the right to mount one.
 *
 * Writes are refused with -IOERR and change nothing, reads go on, writes resume when there is room again, and a kill after
 * all that loses nothing that was acknowledged.
 */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { runKindred, skip } from "./program.js";
import { serversOfTest } from "./server-process.js";
import { until } from "./until.js";
import type { WireClient } from "./wire-client.js";

const MB = 1_048_576;
const DISK_BYTES = 24 * MB;
const BALLAST_BYTES = 6 * MB;
/** A compaction needs room for its output beside its input: with these, less than the ballast. */
const SMALL_TABLES = { "memory-table-bytes": "256kb", "table-bytes": "256kb", "level-bytes-base": "1mb" };
const VALUE_BYTES = 4_000;
const BATCH = 32;
/** A compaction may still give room back: the disk counts as full when so many batches in a row were refused. */
const BATCHES_TO_BE_SURE = 20;

describe("a full disk", function () {
  this.timeout(90_000);
  const servers = serversOfTest();

  for (const fsync of ["always", "everysec"]) {
    it(`refuses writes with -IOERR, serves reads, and resumes when there is room (appendfsync ${fsync})`, async function () {
      const disk = servers.makeDirectory();
      const refusal = servers.mountDisk(disk, DISK_BYTES);
      if (refusal !== null) return skip(this, `no file system can be mounted here: ${refusal}`);
      const ballast = join(disk, "ballast");
      writeFileSync(ballast, Buffer.alloc(BALLAST_BYTES, 1));
      const settings = { appendfsync: fsync, ...SMALL_TABLES };
      const server = await servers.start({ directory: join(disk, "data"), settings });
      const client = await server.connect();
      const writes = new Writes(client);

      await until({ what: "all writes are refused", withinMs: 30_000 }, async () => {
        const before = writes.acknowledged.length;
        for (let batch = 0; batch < BATCHES_TO_BE_SURE; batch++) await writes.batch();
        return writes.acknowledged.length === before ? true : null;
      });
      for (const { reason } of writes.refused) expect(reason).to.match(/^IOERR /);
      expect(writes.acknowledged.length, "acknowledged writes").to.be.above(500);

      // Full as it is: reads, and everything that needs no disk.
      expect(await writes.wrong()).to.deep.equal([]);
      expect(await client.call("PING")).to.equal("PONG");
      const info = await client.info();
      expect(info.get("aof_last_write_status")).to.equal("err");
      expect(info.get("is_writable")).to.equal("0");
      const refusedBefore = writes.refused.length;
      await writes.batch();
      expect(writes.refused.length, "refused writes").to.be.above(refusedBefore);

      rmSync(ballast);
      const acknowledgedBefore = writes.acknowledged.length;
      await until({ what: "writes are accepted again", withinMs: 40_000 }, async () => {
        await writes.batch();
        return writes.acknowledged.length > acknowledgedBefore + BATCH ? true : null;
      });
      await until({ what: "INFO says so", withinMs: 40_000 }, async () =>
        (await client.info("persistence")).get("aof_last_write_status") === "ok" ? true : null,
      );
      expect(await writes.wrong()).to.deep.equal([]);

      await client.close();
      await server.kill();
      const check = await runKindred(["check", server.directory]);
      expect(check.code, check.stdout + check.stderr).to.equal(0);
      await server.restart();
      const later = await server.connect();
      expect(await writes.wrong(later)).to.deep.equal([]);
      await later.close();
    });
  }

  it("a start on a full disk says what is the matter and does not harm the data", async function () {
    const disk = servers.makeDirectory();
    const refusal = servers.mountDisk(disk, DISK_BYTES);
    if (refusal !== null) return skip(this, `no file system can be mounted here: ${refusal}`);
    const directory = join(disk, "data");
    const server = await servers.start({ directory });
    const client = await server.connect();
    await client.call("SET", "kept", "value");
    await client.close();
    await server.kill();
    fill(join(disk, "ballast"));
    const attempt = await server.restart().then(
      () => null,
      (error: Error) => error.message,
    );
    if (attempt !== null) expect(attempt).to.match(/kindred: .*(ENOSPC|no space)/i);
    else await server.kill();
    rmSync(join(disk, "ballast"));
    await server.restart();
    const later = await server.connect();
    expect(await later.call("GET", "kept")).to.equal("value");
    await later.close();
  });
});

/** Writes a file until nothing more goes onto the disk. */
function fill(path: string): void {
  for (let size = DISK_BYTES; size >= 4_096; size = Math.floor(size / 2)) {
    try {
      writeFileSync(path, Buffer.alloc(size, 1), { flag: "a" });
    } catch {
      // What fitted of it stays.
    }
  }
}

/** Writes of ever new keys with values that do not compress, and what became of each. */
class Writes {
  readonly acknowledged: string[] = [];
  readonly refused: { readonly key: string; readonly reason: string }[] = [];
  readonly #client: WireClient;
  #next = 0;

  constructor(client: WireClient) {
    this.#client = client;
  }

  async batch(): Promise<void> {
    const keys = Array.from({ length: BATCH }, () => `key:${this.#next++}`);
    const replies = await Promise.all(keys.map((key) => this.#client.send("SET", key, valueFor(key))));
    for (const [at, reply] of replies.entries()) {
      if (reply === "OK") this.acknowledged.push(keys[at]!);
      else this.refused.push({ key: keys[at]!, reason: reply instanceof Error ? reply.message : String(reply) });
    }
  }

  /** Acknowledged keys that are not as written, and refused ones that are there. */
  async wrong(client = this.#client): Promise<readonly string[]> {
    const wrong: string[] = [];
    const look = async (keys: readonly string[], expected: (key: string) => string | null): Promise<void> => {
      for (let from = 0; from < keys.length; from += BATCH) {
        const batch = keys.slice(from, from + BATCH);
        const replies = await Promise.all(batch.map((key) => client.send("GET", key)));
        for (const [at, key] of batch.entries()) {
          if (replies[at] !== expected(key)) wrong.push(`${key}: ${String(replies[at]).slice(0, 80)}`);
        }
      }
    };
    await look(this.acknowledged, valueFor);
    await look(
      this.refused.map(({ key }) => key),
      () => null,
    );
    return wrong.slice(0, 10);
  }
}

/** A text of the key and letters without a pattern (Knuth's multiplicative sequence), so that little of it compresses. */
function valueFor(key: string): string {
  const bytes = Buffer.alloc(VALUE_BYTES);
  let state = Number(key.slice("key:".length)) + 1;
  for (let at = 0; at < VALUE_BYTES; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = 33 + ((state >>> 24) % 90);
  }
  return `${key}=${bytes.toString("latin1")}`;
}
