import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
 *
 * @typedef {{ title: string, limitMs: number, read?: (report: any) => Outcome,
 *   command: (file: string) => { program: string, args: string[], env: Record<string, string> } }} Phase
 */

/**
 * Runs a phase, showing its output as it comes. A program that ends badly with no failure of its own to show, writes no outcome, or outlives its
 * limit counts as one failure.
 *
 * @param {Phase & { root: string }} phase
 * @returns {Promise<Outcome>}
 */
export async function runPhase({ title, root, limitMs, command, read = (report) => report }) {
  const folder = mkdtempSync(join(tmpdir(), 'berth-test-'));
  const file = join(folder, 'report.json');
  const { program, args, env } = command(file);
  console.log(`\n== ${title}`);
  const start = performance.now();
  try {
    const ending = await runToEnd(program, args, { cwd: root, env: { ...process.env, ...env } }, limitMs);
    const written = existsSync(file);
    const outcome = written ? read(JSON.parse(readFileSync(file, 'utf8'))) : nothing();
    if (!written && ending === 'ended well') {
      outcome.failed += 1;
      outcome.failures.push(`${title} counted nothing`);
    } else if (ending !== 'ended well' && outcome.failed === 0) {
      outcome.failed += 1;
      outcome.failures.push(`${title} ${ending}`);
    }
    console.log(
      `== ${title}: ${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped.length} skipped in ${((performance.now() - start) / 1000).toFixed(0)} s`,
    );
    return outcome;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runToEnd(program, args, options, limitMs) {
  return new Promise((resolve) => {
    // A group of its own, so that a phase that hangs ends with all it started.
    const child = spawn(program, args, { ...options, stdio: ['ignore', 'inherit', 'inherit'], detached: true });
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
