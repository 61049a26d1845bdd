/** Runs the scripts twice each: with everything in memory, and with nothing in memory. */
import { expect } from "chai";
import { FakeClient } from "./fake-client.js";
import { MODES } from "./fake-keyspace.js";
import { readable, readScripts } from "./script.js";

for (const mode of MODES) {
  describe(`commands on a keyspace in mode ${mode}`, () => {
    for (const script of readScripts()) {
      it(`${script.file}: ${script.title}`, async () => {
        const client = new FakeClient({ mode, protocol: script.protocol });
        for (const step of script.steps) {
          if (step.kind === "clock") client.clock.nowMs += step.byMs;
          else {
            const reply = readable(await client.run(...step.args));
            expect(reply, `${script.file}:${step.line} ${step.args.join(" ")}`).to.equal(step.reply);
          }
        }
      });
    }
  });
}
