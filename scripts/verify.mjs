#!/usr/bin/env node
// The quick answer to "is it sound?": format, lint, types, boundaries, unit tests, native unit tests. Under two minutes.
import { root, setup } from './setup.mjs';

try {
  setup();
} catch (error) {
  console.error(`setup: ${error.message}`);
  process.exit(1);
}
const { runStaticChecks } = await import('./verify/static-checks.mjs');
const { runPhase } = await import('./test/phases.mjs');
const { unitPhases } = await import('./test/suite.mjs');

const failed = await runStaticChecks(root);
for (const phase of unitPhases(root)) {
  const outcome = await runPhase({ root, ...phase });
  failed.push(...outcome.failures);
}
console.log(failed.length === 0 ? '\nverified' : `\nnot well:\n  ${failed.join('\n  ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
