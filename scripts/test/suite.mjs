import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { vitest } from './phases.mjs';

const minutes = (count) => count * 60_000;
const isThere = (root, path) => existsSync(join(root, path));

/** The phases that need neither root nor services. */
export function unitPhases(root) {
  return [
    { title: 'unit', limitMs: minutes(3), command: vitest(root, ['--exclude', '**/*.int.spec.js', '--exclude', '**/node_modules/**']) },
  ];
}

/**
 * Every phase of the suite, in order: cheap and telling ones first. Those with containers and servers run one file at a time, since two of them on
 * two cores would measure each other.
 */
export function allPhases(root) {
  const serial = ['--no-file-parallelism'];
  return [
    ...unitPhases(root),
    {
      title: 'integration',
      limitMs: minutes(12),
      command: vitest(root, ['.int.spec.js', '--exclude', 'test/dist/e2e/**', '--exclude', '**/node_modules/**', ...serial]),
    },
    { title: 'end to end', limitMs: minutes(12), command: vitest(root, ['test/dist/e2e/', ...serial]) },
    {
      title: 'runtime with sanitizers',
      limitMs: minutes(6),
      command: vitest(root, ['libs/runtime/dist', ...serial], { BERTH_NATIVE_DIR: join(root, 'native/build/san') }),
    },
    {
      title: 'cgroup v2 in a virtual machine',
      limitMs: minutes(10),
      command: (file) => ({ program: process.execPath, args: ['test/vm/run.mjs', '--report', file], env: {} }),
    },
  ].filter(({ title }) => !title.startsWith('cgroup v2') || isThere(root, 'test/vm/run.mjs'));
}
