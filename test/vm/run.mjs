/**
 * Runs compiled specs on another kernel: Debian's cloud kernel with pure cgroup v2 or another layout of them, emulated, in a machine made of this host's own files.
 *
 *     node test/vm/run.mjs [--report FILE.json] [--kernel 6.1] [--cgroups v2|v1|hybrid] [--minutes 20] [--only NAME] [--env KEY=VALUE] GLOB...
 *
 * `--only` runs the tests whose names match. Globs name compiled specs below the repository, such as `test/dist/shim/*.spec.js`. Exits with 1 when a test failed. A machine that cannot
 * boot the guest skips every file, says why, and exits with 0. Nothing but the cache (node_modules/.cache/berth-vm) stays behind.
 */
import { rmSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { baseImage, bootArchive, reportDisk, repositoryImage } from './images.mjs';
import { findKernel } from './kernel.mjs';
import { boot, findEmulator } from './machine.mjs';
import { readReportDisk, summarize } from './report.mjs';
import { Unavailable } from './unavailable.mjs';

const repository = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const cacheDir = join(repository, 'node_modules/.cache/berth-vm');
const reportBytes = 32 << 20;
const guestHeadStartMs = 60_000;

/** How the guest mounts its cgroups. */
const layouts = ['v2', 'v1', 'hybrid'];

function globPattern(glob) {
  const source = glob
    .split(/(\*\*\/|\*|\?)/)
    .map((part) => ({ '**/': '(?:.*/)?', '*': '[^/]*', '?': '[^/]' })[part] ?? part.replace(/[.+^${}()|[\]\\]/g, '\\$&'))
    .join('');
  return new RegExp(`^${source}$`);
}

/** Compiled specs that match any of the globs, relative to the repository. */
async function findSpecs(globs) {
  const patterns = globs.map(globPattern);
  const found = [];
  const walk = async (folder) => {
    for (const entry of await readdir(join(repository, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory() && entry.name !== 'node_modules') await walk(path);
      else if (entry.name.endsWith('.spec.js') && patterns.some((pattern) => pattern.test(path))) found.push(path);
    }
  };
  for (const folder of ['libs', 'apps', 'test']) await walk(folder);
  return found.sort();
}

async function runInGuest(specs, { kernel: version, cgroups, minutes, environment }) {
  if (process.arch !== 'x64') throw new Unavailable(`the guest is amd64, this machine is ${process.arch}`);
  findEmulator();
  await mkdir(cacheDir, { recursive: true });
  const kernel = await findKernel(cacheDir, version);
  const base = await baseImage(cacheDir, kernel, repository);
  const directory = await mkdtemp(join(tmpdir(), 'berth-vm-'));
  const clear = () => rmSync(directory, { recursive: true, force: true });
  process.once('exit', clear);
  try {
    const limitMs = minutes * 60_000;
    const env = { BERTH_TEST_MACHINE: 'qemu', GUEST_SECONDS: String(Math.floor(limitMs / 1000)), GUEST_CGROUPS: cgroups, ...environment };
    const disks = [base, await repositoryImage(directory, repository, specs, env)];
    const report = await reportDisk(directory, reportBytes);
    const archive = await bootArchive(directory, kernel);
    const onOutput = (text) => process.stdout.write(text);
    const end = await boot({ kernel: kernel.image, archive, disks, report, limitMs: limitMs + guestHeadStartMs, onOutput });
    const vitest = await readReportDisk(report);
    if (vitest) return { kernel: kernel.release, ...summarize(vitest, specs) };
    const why = end.timedOut ? `the guest did not end within ${minutes} minutes` : 'the guest ended without a report';
    return {
      kernel: kernel.release,
      passed: 0,
      failed: 1,
      skipped: 0,
      failures: [{ name: 'the virtual machine', message: `${why}\n${end.tail}` }],
      skips: [],
    };
  } finally {
    clear();
    process.off('exit', clear);
  }
}

async function main() {
  const options = {
    report: { type: 'string' },
    kernel: { type: 'string' },
    cgroups: { type: 'string', default: 'v2' },
    minutes: { type: 'string', default: '20' },
    only: { type: 'string' },
    env: { type: 'string', multiple: true, default: [] },
  };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const { kernel, cgroups } = values;
  if (!layouts.includes(cgroups)) throw new Error(`--cgroups is one of ${layouts.join(', ')}, not ${cgroups}`);
  const specs = await findSpecs(positionals);
  if (specs.length === 0) throw new Error(`no compiled spec matches ${positionals.join(' ') || '(no glob given)'}`);
  const environment = Object.fromEntries(values.env.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
  if (values.only) environment.GUEST_ONLY = values.only;
  const started = Date.now();
  const outcome = await runInGuest(specs, { kernel, cgroups, minutes: Number(values.minutes), environment }).catch((error) => {
    if (!(error instanceof Unavailable)) throw error;
    return { kernel: null, passed: 0, failed: 0, skipped: specs.length, failures: [], skips: specs, reason: error.message };
  });
  const report = { reason: null, ...outcome, durationMs: Date.now() - started };
  if (values.report) await writeFile(values.report, `${JSON.stringify(report, null, 2)}\n`);
  for (const { name, message } of report.failures) console.log(`\nFAILED ${name}\n${message}`);
  if (report.reason) console.log(`skipped: ${report.reason}`);
  const where = report.kernel
    ? `Linux ${report.kernel}, cgroup ${cgroups}, ${Math.round(report.durationMs / 1000)} s`
    : 'no virtual machine';
  console.log(`vm (${where}): ${report.passed} passed, ${report.failed} failed, ${report.skipped} skipped`);
  process.exitCode = report.failed > 0 ? 1 : 0;
}

// Through process.exit, so that the emulator is ended and the disks are removed on the way out.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    console.error(`vm: ended by ${signal}`);
    process.exit(130);
  });
}
await main();
