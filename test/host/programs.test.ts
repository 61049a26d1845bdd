import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { NodePrograms } from "../../lib/host/node-programs.js";

const SHELL = { program: "sh", environment: { WORD: "from outside" }, withinMs: 10_000 };

describe("programs that are run to their end", () => {
  const programs = new NodePrograms();

  it("get their words and their environment, and tell how they ended and what they wrote", async () => {
    const end = await programs.run({ ...SHELL, args: ["-c", 'echo "$WORD; $1"; echo wrong >&2; exit 7', "sh", "a b; c"] });
    expect(end).to.deep.equal({ code: 7, signal: null, isLate: false, output: "from outside; a b; c\n", errors: "wrong\n" });
  });

  it("keep no more than the end of what they write", async () => {
    const { output } = await programs.run({
      ...SHELL,
      args: ["-c", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done"],
    });
    expect(output.length).to.equal(4_096);
    expect(output.endsWith("line 2999\n")).to.equal(true);
  });

  it("are killed when they take too long, also where something that they started goes on", async () => {
    const startedMs = performance.now();
    const end = await programs.run({ ...SHELL, args: ["-c", "sleep 5 & sleep 5"], withinMs: 200 });
    expect(end).to.include({ code: null, signal: "SIGKILL", isLate: true });
    expect(performance.now() - startedMs).to.be.below(4_000);
  });

  it("that are not there are an error that names them", async () => {
    const failure = await programs.run({ ...SHELL, program: "no-such-program", args: [] }).catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(OperatingError);
    expect((failure as OperatingError).message).to.match(/^no-such-program could not be run: /);
  });
});
