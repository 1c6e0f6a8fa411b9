import { readFile } from 'node:fs/promises';

/**
 * What the virtual machine's tests came to.
 * @typedef {{
 *   kernel: string | null, passed: number, failed: number, skipped: number,
 *   failures: { name: string, message: string }[], skips: string[], reason: string | null, durationMs: number,
 * }} Report `reason`: why nothing could run
 */

/** Reads the JSON that the guest wrote to its disk of zeros; undefined when it wrote none. */
export async function readReportDisk(path) {
  const bytes = await readFile(path);
  const end = bytes.indexOf(0);
  if (end === 0) return undefined;
  return JSON.parse(bytes.toString('utf8', 0, end < 0 ? bytes.length : end));
}

const inGuest = (path) => path.replace(/^\/repo\//, '');

/** Counts the outcome of Vitest's JSON report. A file that could not be loaded is a failure of its own; a listed file that is missing, too. */
export function summarize(vitest, specs) {
  const summary = { passed: 0, failed: 0, skipped: 0, failures: [], skips: [] };
  const fail = (name, message) => {
    summary.failed += 1;
    summary.failures.push({ name, message });
  };
  for (const file of vitest.testResults) {
    const path = inGuest(file.name);
    for (const test of file.assertionResults) {
      const name = `${path} > ${[...test.ancestorTitles, test.title].join(' > ')}`;
      if (test.status === 'passed') summary.passed += 1;
      else if (test.status === 'failed') fail(name, test.failureMessages.join('\n'));
      else {
        summary.skipped += 1;
        summary.skips.push(name);
      }
    }
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) fail(path, file.message);
  }
  const seen = new Set(vitest.testResults.map((file) => inGuest(file.name)));
  for (const spec of specs) if (!seen.has(spec)) fail(spec, 'the guest did not run this file');
  return summary;
}
