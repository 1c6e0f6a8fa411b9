import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

/**
 * The checks that run no code of ours, each by name. `run` answers null when all is well, else what is wrong.
 *
 * @returns {{ name: string, run: () => Promise<string | null> }[]}
 */
export function staticChecks(root) {
  return [
    {
      name: 'format and lint',
      run: async () => program(root, 'node_modules/@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']),
    },
    { name: 'types', run: async () => program(root, 'node_modules/typescript/bin/tsc', ['-b']) },
    {
      name: 'boundaries',
      run: async () => {
        const { checkBoundaries } = await import('./boundaries.mjs');
        const violations = checkBoundaries(root);
        return violations.length === 0 ? null : violations.map(({ rule, at, message }) => `${at}: ${rule}: ${message}`).join('\n');
      },
    },
  ];
}

function program(root, path, args) {
  const result = spawnSync(process.execPath, [join(root, path), ...args], { cwd: root, encoding: 'utf8', maxBuffer: 64 << 20 });
  return result.status === 0 ? null : `${result.stdout}${result.stderr}${result.error?.message ?? ''}`.trim();
}

/** Runs them all, one line each, and answers the names of those that failed. */
export async function runStaticChecks(root, say = console.log) {
  const failed = [];
  for (const { name, run } of staticChecks(root)) {
    const start = performance.now();
    const wrong = await run();
    say(`${wrong === null ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
    if (wrong !== null) {
      say(wrong);
      failed.push(name);
    }
  }
  return failed;
}
