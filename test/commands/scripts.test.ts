/** Runs the scripts twice each: with everything in memory, and with nothing in memory. */
import { expect } from "chai";
import { MODES } from "./fake-keyspace.js";
import { FakeNode } from "./fake-node.js";
import { readable, readScripts } from "./script.js";

for (const mode of MODES) {
  describe(`commands on a keyspace in mode ${mode}`, () => {
    for (const script of readScripts()) {
      it(`${script.file}: ${script.title}`, async () => {
        const node = new FakeNode({ mode });
        const client = node.connect();
        await client.send(`HELLO ${script.protocol}`);
        for (const step of script.steps) {
          if (step.kind === "clock") node.clock.nowMs += step.byMs;
          else {
            const reply = readable(await client.run(...step.args));
            expect(reply, `${script.file}:${step.line} ${step.args.join(" ")}`).to.equal(step.reply);
          }
        }
      });
    }
  });
}
