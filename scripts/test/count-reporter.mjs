import { writeFileSync } from 'node:fs';

/**
 * A Vitest reporter that writes what it counted to the file named by BERTH_TEST_REPORT, as
 * `{ "passed", "failed", "skipped": [{ "name", "reason" }], "failures": [name] }`. A file that fails to load and an error outside
 * any test count as one failure each.
 */
export default class CountReporter {
  onTestRunEnd(modules, unhandledErrors) {
    const report = { passed: 0, failed: 0, skipped: [], failures: [] };
    const fail = (name) => {
      report.failed += 1;
      report.failures.push(name);
    };
    for (const module of modules) {
      if (module.errors().length > 0) fail(module.relativeModuleId);
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) fail(`${module.relativeModuleId}: ${suite.fullName}`);
      for (const test of module.children.allTests()) {
        const { state, note } = test.result();
        const name = `${module.relativeModuleId}: ${test.fullName}`;
        if (state === 'passed') report.passed += 1;
        else if (state === 'failed') fail(name);
        else report.skipped.push({ name, reason: note ?? suiteReason(test) });
      }
    }
    for (const error of unhandledErrors) fail(`unhandled: ${error.message}`);
    writeFileSync(process.env.BERTH_TEST_REPORT, JSON.stringify(report));
  }
}

/** A skip without a note is explained by its phase, or by the name of the test or of the suite around it: "..., where the machine has X". */
function suiteReason(test) {
  return test.module.state() === 'failed'
    ? 'its file failed'
    : (process.env.BERTH_TEST_SKIP_REASON ?? 'this machine lacks what its name tells');
}
