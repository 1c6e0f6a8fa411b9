import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, eventually, isSanitized, nativeDir, type OciConfig, runtimePath, TestBundle } from './bundle.js';

/**
 * Every call costs a start its time, and a call too many shows in no other test. `command` are those of the runtime's own process, `others` those of init
 * until it becomes the program. Who adds a call raises the bound here, and says in the commit what for.
 */
interface Calls {
  readonly command: number;
  readonly others: number;
}

/** Hierarchies of cgroup v1: each has a directory to make, to enter and to remove, and the cpuset's is to be filled. */
const hierarchies = readFileSync('/proc/self/cgroup', 'utf8')
  .split('\n')
  .filter((line) => /^\d+:[a-z]/.test(line) && !line.includes(':name=')).length;
/** Who of two processes comes first decides over a wait or two. */
const TIMING = 3;

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

function count(args: readonly string[]): Calls {
  const file = join(bundle.dir, 'calls.json');
  // Nobody waits for the ends of pipes here: a created container would hold them.
  spawnSync(join(nativeDir, 'test/count-syscalls'), [file, runtimePath, '--root', bundle.stateRoot, ...args], {
    stdio: 'ignore',
    timeout: 25_000,
  });
  const { status, command, others } = JSON.parse(readFileSync(file, 'utf8')) as Calls & { status: number };
  expect(status).toBe(0);
  return { command, others };
}

function expectAtMost(what: string, calls: Calls, bound: Calls): void {
  console.info(`${what}: ${calls.command} and ${calls.others} system calls, at most ${bound.command} and ${bound.others}`);
  expect(calls.command, `${what}: calls of the runtime`).toBeLessThanOrEqual(bound.command + TIMING);
  expect(calls.others, `${what}: calls of init`).toBeLessThanOrEqual(bound.others + TIMING);
}

function inItsPlace(config: OciConfig): void {
  config.linux.cgroupsPath = `/${bundle.id}`;
}

// Sanitizers make calls of their own.
describe.skipIf(isSanitized)('the system calls of a container’s life', () => {
  it('are no more than these as root of a user namespace', async () => {
    const config = bundle.config(['exit', '0']);
    inItsPlace(config);
    bundle.write(config);
    expectAtMost('create', count(['create', '--bundle', bundle.dir, bundle.id]), {
      command: 123 + hierarchies,
      others: 422 + 5 * hierarchies,
    });
    expectAtMost('start', count(['start', bundle.id]), { command: 34, others: 0 });
    await eventually(() => bundle.runtime(['state', bundle.id]).stdout.includes('"stopped"'), 'stopped');
    expectAtMost('delete', count(['delete', bundle.id]), { command: 45 + hierarchies, others: 0 });
    expectAtMost('run', count(['run', '--bundle', bundle.dir, bundle.id]), {
      command: 130 + 2 * hierarchies,
      others: 403 + 5 * hierarchies,
    });
  });

  it('are no more than these as the host’s root', () => {
    const config = bundle.config(['exit', '0']);
    inItsPlace(config);
    asHostRoot(config);
    bundle.write(config);
    expectAtMost('run', count(['run', '--bundle', bundle.dir, bundle.id]), {
      command: 143 + 2 * hierarchies,
      others: 366 + 5 * hierarchies,
    });
  });
});
