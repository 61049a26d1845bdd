/**
 * Builds that differ from the one under test, made of it: a copy of its compiled files with some lines changed. So members of an
 * older and of a later build run in one cluster, as they do while a cluster is upgraded.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** In which file (of `lib`) what is replaced by what. It stands there exactly once, or the build is not made. */
interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const root = fileURLToPath(new URL("../../../", import.meta.url));
const VERSION_LINE = "PROTOCOL_VERSION_MAX = 2;";
/** Kind of call, and tag of fields, that no build has. */
const ADDED_KIND = 140;
export const ADDED_TAG = 40;
const ADDED_FIELD = `[{ tag: ${ADDED_TAG}, bytes: Buffer.from("of a later build") }]`;

/** Protocol 1: no hash trees, no intake but for its own join, and nobody who answers how far that is. */
const OLDER: readonly Edit[] = [
  { file: "peer/hello.js", from: VERSION_LINE, to: "PROTOCOL_VERSION_MAX = 1;" },
  {
    file: "replica/slot-intake.js",
    from: "if (change === null || slots === 0) {",
    to: "if (change === null || slots === 0 || comingMember(ring.change)?.id !== this.#options.selfId) {",
  },
];

/** Protocol 3: one more kind of call, made to each peer when a link to it is up; one more field in gossip and in the ring document. */
const NEWER: readonly Edit[] = [
  { file: "peer/hello.js", from: VERSION_LINE, to: "PROTOCOL_VERSION_MAX = 3;" },
  {
    file: "node/ring-stack.js",
    from: "this.#intakes.serve();",
    to: `this.#intakes.serve();
        this.peers.serve(${ADDED_KIND}, (request) => request.answer(request.payload), 3);
        this.peers.onUp((peer) => {
            const deadlineMs = clock.monotonicMs() + 2000;
            this.peers.call({ to: peer, kind: ${ADDED_KIND}, payload: Buffer.from("greetings"), deadlineMs }).then(
                (answer) => log.info({ peer }, \`a peer answers \${answer}\`),
                (error) => log.info({ peer }, \`a peer was not greeted: \${error.reason}\`),
            );
        });`,
  },
  { file: "cluster/self-portrait.js", from: "unknown: [],", to: `unknown: ${ADDED_FIELD},` },
  {
    file: "cluster/self-portrait.js",
    from: "return { id: this.#id,",
    to: `return { unknown: ${ADDED_FIELD}, id: this.#id,`,
  },
];

export interface OtherBuilds {
  /** The paths of their main programs. */
  readonly older: string;
  readonly newer: string;
  /** Removes them. */
  remove(): void;
}

export function makeOtherBuilds(): OtherBuilds {
  const directory = mkdtempSync(join(tmpdir(), "kindred-builds-"));
  return {
    older: makeBuild(join(directory, "older"), "0.0.9", OLDER),
    newer: makeBuild(join(directory, "newer"), "9.0.0", NEWER),
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function makeBuild(directory: string, version: string, edits: readonly Edit[]): string {
  cpSync(join(root, "dist", "lib"), join(directory, "dist", "lib"), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(directory, "node_modules"));
  const description = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as object;
  writeFileSync(join(directory, "package.json"), JSON.stringify({ ...description, version }));
  for (const { file, from, to } of edits) {
    const path = join(directory, "dist", "lib", file);
    const parts = readFileSync(path, "utf8").split(from);
    if (parts.length !== 2) throw new Error(`${file} has ${parts.length - 1} times: ${from}`);
    writeFileSync(path, parts.join(to));
  }
  return join(directory, "dist", "lib", "main.js");
}
