import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * What one part of the suite came to.
 *
 * @typedef {{ passed: number, failed: number, skipped: { name: string, reason: string }[], failures: string[] }} Outcome
 */

/** @returns {Outcome} */
export const nothing = () => ({ passed: 0, failed: 0, skipped: [], failures: [] });

/** Adds one outcome to another, in place. */
export function add(total, outcome) {
  total.passed += outcome.passed;
  total.failed += outcome.failed;
  total.skipped.push(...outcome.skipped);
  total.failures.push(...outcome.failures);
}

/**
 * A part of the suite: a program that writes what it counted to the file that `command` is given; `read` makes an Outcome of it where it is none yet.
 * One that is `beside` runs while the others do, and shows what it said when it is over.
 *
 * @typedef {{ title: string, limitMs: number, beside?: boolean, read?: (report: any) => Outcome,
 *   command: (file: string) => { program: string, args: string[], env: Record<string, string> } }} Phase
 */

/**
 * Runs a phase, showing its output as it comes or, of one beside the others, when it is over. A program that ends badly with no failure of its own to show, writes no outcome, or outlives its
 * limit counts as one failure.
 *
 * @param {Phase & { root: string }} phase
 * @returns {Promise<Outcome>}
 */
export async function runPhase({ title, root, limitMs, command, beside = false, read = (report) => report }) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-test-'));
  const file = join(folder, 'report.json');
  const { program, args, env } = command(file);
  const output = beside ? openSync(join(folder, 'output'), 'w') : 'inherit';
  if (!beside) console.log(`\n== ${title}`);
  const start = performance.now();
  try {
    const stdio = ['ignore', output, output];
    const ending = await runToEnd(program, args, { cwd: root, env: { ...process.env, ...env }, stdio }, limitMs);
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    const written = existsSync(file);
    const outcome = written ? read(JSON.parse(readFileSync(file, 'utf8'))) : nothing();
    if (!written && ending === 'ended well') {
      outcome.failed += 1;
      outcome.failures.push(`${title} counted nothing`);
    } else if (ending !== 'ended well' && outcome.failed === 0) {
      outcome.failed += 1;
      outcome.failures.push(`${title} ${ending}`);
    }
    if (beside) console.log(`\n== ${title}, beside the others\n${readFileSync(join(folder, 'output'), 'utf8')}`);
    console.log(`== ${title}: ${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped.length} skipped in ${seconds} s`);
    return outcome;
  } finally {
    if (beside) closeSync(output);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Process groups of the phases under way. */
const groups = new Set();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    for (const pid of groups) process.kill(-pid, 'SIGTERM');
    setTimeout(() => {
      for (const pid of groups) killGroup(pid);
      process.exit(130);
    }, 3_000);
  });
}

function runToEnd(program, args, options, limitMs) {
  return new Promise((resolve) => {
    // A group of its own, so that a phase that hangs ends with all it started.
    const child = spawn(program, args, { ...options, detached: true });
    if (child.pid) groups.add(child.pid);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      process.kill(-child.pid, 'SIGTERM');
      setTimeout(() => killGroup(child.pid), 10_000).unref();
    }, limitMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve(`could not start: ${error.message}`);
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      killGroup(child.pid);
      groups.delete(child.pid);
      resolve(late ? `took longer than ${limitMs / 1000} s` : code === 0 ? 'ended well' : `ended with ${signal ?? code}`);
    });
  });
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left in it.
  }
}

/** A phase of Vitest over compiled specs; `select` are its filters and options. */
export function vitest(root, select, env = {}) {
  return (file) => ({
    program: process.execPath,
    args: [
      join(root, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--passWithNoTests',
      '--reporter=default',
      `--reporter=${join(root, 'scripts/test/count-reporter.mjs')}`,
      ...select,
    ],
    env: { ...env, BERTH_TEST_REPORT: file },
  });
}
