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
        BERTH_TEST_SKIP_REASON: 'it is about the programs as they are released, not with sanitizers',
      }),
    },
    {
      title: 'fuzzing',
      limitMs: minutes(5),
      command: (file) => ({ program: process.execPath, args: ['scripts/fuzz.mjs', '--seconds', '4', '--report', file], env: {} }),
    },
    machine('containers on cgroup v2, in a virtual machine', 'v2', machineSpecs),
    // This host's hierarchies are the third kind, or one of these two.
    machine('containers on cgroup v1, in a virtual machine', 'v1', besiegedSpecs),
  ];
}

/** Specs in an emulated machine: beside the others, since it keeps one of two cores busy. */
function machine(title, cgroups, specs) {
  return {
    title,
    limitMs: minutes(28),
    beside: true,
    read: readMachineReport,
    command: (file) => ({
      program: process.execPath,
      args: ['test/vm/run.mjs', '--cgroups', cgroups, '--minutes', '25', '--report', file, ...specs],
      env: {},
    }),
  };
}

/** What must hold on another kernel and another layout of cgroups: everything that makes containers. */
const machineSpecs = [
  'test/dist/native/*.spec.js',
  'test/dist/shim/*.spec.js',
  'apps/node-agent/dist/containers.int.spec.js',
  'libs/image/dist/snapshot/disk-limit.int.spec.js',
];

/** What depends most on the layout of cgroups: limits, and attacks on them. */
const besiegedSpecs = ['cgroups', 'hostile', 'attacks'].map((name) => `test/dist/native/${name}.int.spec.js`);

/** test/vm counts by itself, in a form of its own. */
function readMachineReport({ passed, failed, failures, skips, reason }) {
  const inMachine = (name) => `virtual machine: ${name}`;
  return {
    passed,
    failed,
    failures: failures.map(({ name }) => inMachine(name)),
    skipped: skips.map((name) => ({ name: inMachine(name), reason: reason ?? 'the virtual machine lacks what its name tells' })),
  };
}
