/**
 * Mocha's own `spec` output, and beside it the runner's counts as a file for bootstrap.mjs (reporter option `resultPath`),
 * which prints them as the last line of `npm test`.
 */
import { writeFileSync } from "node:fs";
import Mocha from "mocha";

export default class TestReporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const { resultPath } = options.reporterOption ?? options.reporterOptions ?? {};
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = runner.stats;
      if (resultPath !== undefined) {
        writeFileSync(resultPath, JSON.stringify({ passed: passes, failed: failures, skipped: pending }));
      }
    });
  }
}
