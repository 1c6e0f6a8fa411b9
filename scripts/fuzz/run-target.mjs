import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findCommand } from '../setup/packages.mjs';

/**
 * What became of one target.
 *
 * @typedef {{ name: string, passed: boolean, executions: number, edges: number, edgesTotal: number, lines: string, message: string, reproducer: string | null }} Finding
 *   `lines`: the share of its sources' lines that were reached, or a dash where llvm-cov is not installed
 */

const limitMs = 120_000;

/** Where seeds are kept, and where a run of a checkout keeps what it finds. */
export const seedsOf = (root, name) => join(root, 'test/fuzz/corpus', name);
export const corpusOf = (root, name) => join(root, 'native/build/fuzz/corpus', name);
export const programOf = (root, name) => join(root, 'native/build/fuzz', `fuzz-${name}`);
const crashesOf = (root) => join(root, 'native/build/fuzz/crashes');

/** Runs a target for so many seconds. @param {import('./targets.mjs').Target} target @returns {Promise<Finding>} */
export async function runTarget(root, target, seconds) {
  // In memory where there is one of those: the targets that write files do little else.
  const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'berth-fuzz-'));
  try {
    const corpus = target.planted ? join(scratch, 'corpus') : corpusOf(root, target.name);
    for (const folder of [corpus, crashesOf(root)]) mkdirSync(folder, { recursive: true });
    const profile = join(scratch, 'profile');
    const { output, status } = await run(
      programOf(root, target.name),
      [
        `-max_total_time=${seconds}`,
        `-max_len=${target.maxBytes}`,
        '-timeout=10',
        '-rss_limit_mb=1024',
        '-print_final_stats=1',
        `-artifact_prefix=${crashesOf(root)}/${target.name}-`,
        corpus,
        ...(existsSync(seedsOf(root, target.name)) ? [seedsOf(root, target.name)] : []),
      ],
      { TMPDIR: scratch, LLVM_PROFILE_FILE: profile },
    );
    return judge(root, target, output, status, target.planted ? '-' : linesReached(root, target, profile));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function run(program, args, env) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    // libFuzzer ends itself; this is for the case that it cannot.
    const timer = setTimeout(() => child.kill('SIGKILL'), limitMs + 1000 * Number(/max_total_time=(\d+)/.exec(args[0])?.[1] ?? 0));
    child.on('error', (error) => {
      output += error.message;
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ output, status: signal ?? code });
    });
  });
}

function judge(root, target, output, status, lines) {
  const last = (pattern) => Number([...output.matchAll(pattern)].at(-1)?.[1] ?? 0);
  const reproducer = /Test unit written to (\S+)/.exec(output)?.[1] ?? null;
  const said = /^.*broken promise: .*$|^SUMMARY: .*$/m.exec(output)?.[0].replaceAll(`${root}/`, '') ?? `ended with ${status}`;
  const finding = {
    name: target.name,
    executions: last(/stat::number_of_executed_units:\s+(\d+)/g) || last(/^#(\d+)/gm),
    edges: last(/ cov: (\d+)/g),
    edgesTotal: last(/\((\d+) inline 8-bit counters\)/g),
    lines,
    reproducer,
  };
  if (!target.planted) return { ...finding, passed: status === 0, message: status === 0 ? '' : said };
  const found = target.planted.test(output);
  // It is found again each time; nobody needs the input.
  if (found && reproducer) rmSync(reproducer, { force: true });
  return {
    ...finding,
    passed: found,
    reproducer: null,
    message: found ? 'the planted bug was found' : `the planted bug was not found: ${said}`,
  };
}

function linesReached(root, target, profile) {
  const program = programOf(root, target.name);
  if (!existsSync(profile) || findCommand('llvm-profdata') === null || findCommand('llvm-cov') === null) return '-';
  const merged = spawnSync('llvm-profdata', ['merge', '-sparse', '-o', `${profile}.data`, profile]);
  if (merged.status !== 0) return '-';
  const sources = target.sources.map((source) => join(root, 'native', source));
  const { stdout } = spawnSync('llvm-cov', ['export', '-summary-only', `-instr-profile=${profile}.data`, program, ...sources], {
    encoding: 'utf8',
    cwd: join(root, 'native'),
    maxBuffer: 1 << 26,
  });
  const of = (name) => JSON.parse(stdout).data[0].files.find(({ filename }) => filename.endsWith(`/${name}`))?.summary.lines;
  const counts = target.sources.map(of).filter((lines) => lines !== undefined);
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  return total === 0 ? '-' : `${((100 * counts.reduce((sum, { covered }) => sum + covered, 0)) / total).toFixed(1)} %`;
}

/** Replaces a target's seeds by the fewest and smallest inputs, of them and of what runs have found, that reach as much. Returns how many. */
export function minimizeSeeds(root, name) {
  const seeds = seedsOf(root, name);
  const scratch = mkdtempSync(join(tmpdir(), 'berth-fuzz-'));
  try {
    const merged = join(scratch, 'merged');
    mkdirSync(merged);
    mkdirSync(corpusOf(root, name), { recursive: true });
    const args = [
      '-set_cover_merge=1',
      '-use_counters=0',
      '-rss_limit_mb=1024',
      merged,
      ...[seeds, corpusOf(root, name)].filter((folder) => existsSync(folder)),
    ];
    const { status, stderr } = spawnSync(programOf(root, name), args, {
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: scratch, LLVM_PROFILE_FILE: '/dev/null' },
      maxBuffer: 1 << 26,
    });
    if (status !== 0) throw new Error(`${name}: ${stderr.trim().split('\n').at(-1)}`);
    rmSync(seeds, { recursive: true, force: true });
    mkdirSync(seeds, { recursive: true });
    const names = readdirSync(merged);
    for (const each of names) copyFileSync(join(merged, each), join(seeds, each));
    return names.length;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
