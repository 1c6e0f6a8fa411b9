import { join } from 'node:path';
import { vitest } from './phases.mjs';

const minutes = (count) => count * 60_000;

/** The phases that need neither root nor services. */
export function unitPhases(root) {
  return [
    { title: 'unit', limitMs: minutes(3), command: vitest(root, ['--exclude', '**/*.int.spec.js', '--exclude', '**/node_modules/**']) },
  ];
}

/**
 * Every phase of the suite, in order: cheap and telling ones first. Those with containers and servers run one file at a time, since two of them on
 * two cores would measure each other.
 *
 * @returns {import('./phases.mjs').Phase[]}
 */
export function allPhases(root) {
  const serial = ['--no-file-parallelism'];
  return [
    ...unitPhases(root),
    {
      title: 'integration',
      limitMs: minutes(15),
      command: vitest(root, ['.int.spec.js', '--exclude', 'test/dist/e2e/**', '--exclude', '**/node_modules/**', ...serial]),
    },
    { title: 'end to end', limitMs: minutes(15), command: vitest(root, ['test/dist/e2e/', ...serial]) },
    {
      title: 'native programs with sanitizers',
      limitMs: minutes(8),
      command: vitest(root, ['test/dist/native/', 'test/dist/shim/', 'test/dist/launcher/', 'test/dist/layer/', ...serial], {
        BERTH_NATIVE_DIR: join(root, 'native/build/san'),
      }),
    },
    {
      title: 'fuzzing',
      limitMs: minutes(5),
      command: (file) => ({ program: process.execPath, args: ['scripts/fuzz.mjs', '--seconds', '4', '--report', file], env: {} }),
    },
    {
      title: 'containers on cgroup v2, in a virtual machine',
      limitMs: minutes(23),
      read: readMachineReport,
      command: (file) => ({
        program: process.execPath,
        args: ['test/vm/run.mjs', '--minutes', '20', '--report', file, ...machineSpecs],
        env: {},
      }),
    },
  ];
}

/** What must hold on another kernel and another layout of cgroups: everything that makes containers. */
const machineSpecs = ['test/dist/native/*.spec.js', 'test/dist/shim/*.spec.js', 'apps/node-agent/dist/containers.int.spec.js'];

/** test/vm counts by itself, in a form of its own. */
function readMachineReport({ passed, failed, failures, skips, reason }) {
  const inMachine = (name) => `virtual machine: ${name}`;
  return {
    passed,
    failed,
    failures: failures.map(({ name }) => inMachine(name)),
    skipped: skips.map((name) => ({ name: inMachine(name), reason: reason ?? 'see its name' })),
  };
}
