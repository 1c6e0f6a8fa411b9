#!/usr/bin/env node
/**
 * Fuzzes the native parsers with libFuzzer, ASan and UBSan.
 *
 *     npm run fuzz -- [--seconds N] [--minimize] [--report FILE] [TARGET ...]
 *
 * Every target runs for N seconds (60 by default), as many at a time as there are processors; without a name, all of them. What they find is kept in
 * `native/build/fuzz/corpus` and built upon. Prints executions, edges and lines reached for each. Exits with 1 when one broke, and names the input that did it; the
 * target `planted` has a bug that must be found. `--minimize` folds what was found into the seeds in `test/fuzz/corpus`.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { minimizeSeeds, programOf, runTarget } from './fuzz/run-target.mjs';
import { targets } from './fuzz/targets.mjs';
import { findCommand } from './setup/packages.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');

function chooseTargets(names) {
  const unknown = names.filter((name) => !targets.some((target) => target.name === name));
  if (unknown.length > 0) throw new Error(`unknown target ${unknown.join(', ')}; there are ${targets.map(({ name }) => name).join(', ')}`);
  return targets.filter(({ name }) => names.length === 0 || names.includes(name));
}

function build(chosen) {
  if (findCommand('clang') === null)
    throw new Error('clang is missing: apt-get install --no-install-recommends clang libclang-rt-dev llvm');
  const programs = chosen.map(({ name }) => `build/fuzz/fuzz-${name}`);
  const { status, stdout, stderr } = spawnSync('make', ['-s', '-j2', '-C', 'native', 'FUZZ=1', ...programs], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the targets could not be built:\n${stdout}${stderr}`);
}

/** Runs all, `width` at a time; `done` hears of each as it ends. */
async function runAll(chosen, seconds, width, done) {
  const queue = [...chosen];
  const findings = [];
  const worker = async () => {
    for (let target = queue.shift(); target; target = queue.shift()) {
      const finding = await runTarget(root, target, seconds);
      findings.push(finding);
      done(finding);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return findings;
}

function show({ name, executions, edges, edgesTotal, lines, passed, message, reproducer }) {
  const share = `${edges}/${edgesTotal}`;
  console.log(
    `${name.padEnd(13)} ${String(executions).padStart(9)} executions ${share.padStart(11)} edges ${lines.padStart(8)} of its lines  ${passed ? 'ok' : 'BROKEN'}${message && `: ${message}`}`,
  );
  if (reproducer) console.log(`  again with: ${programOf(root, name)} ${reproducer}`);
}

const toOutcome = (findings, skipped) => ({
  passed: findings.filter(({ passed }) => passed).length,
  failed: findings.filter(({ passed }) => !passed).length,
  failures: findings.filter(({ passed }) => !passed).map(({ name, message }) => `fuzzing ${name}: ${message}`),
  skipped: skipped.map(({ name }) => ({ name: `fuzzing ${name}`, reason: 'it makes device nodes and owners, and needs root' })),
});

async function main() {
  const options = { seconds: { type: 'string', default: '60' }, minimize: { type: 'boolean', default: false }, report: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 1) throw new Error(`--seconds wants a whole number, not ${values.seconds}`);
  const wanted = chooseTargets(positionals);
  const skipped = wanted.filter(({ needsRoot }) => needsRoot && process.getuid() !== 0);
  const chosen = wanted.filter((target) => !skipped.includes(target));
  build(chosen);
  const findings = await runAll(chosen, seconds, Math.min(availableParallelism(), 4), show);
  for (const { name } of skipped) console.log(`${name.padEnd(13)} skipped: needs root`);
  if (values.report) writeFileSync(values.report, JSON.stringify(toOutcome(findings, skipped)));
  if (values.minimize && findings.every(({ passed }) => passed)) {
    for (const { name, planted } of chosen) if (!planted) console.log(`${name}: ${minimizeSeeds(root, name)} seeds`);
  }
  process.exitCode = findings.every(({ passed }) => passed) ? 0 : 1;
}

await main().catch((error) => {
  console.error(`fuzz: ${error.message}`);
  process.exitCode = 1;
});
