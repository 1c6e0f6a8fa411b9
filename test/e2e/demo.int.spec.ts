import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';

it('npm run demo shows all it should and ends well', { timeout: 240_000 }, () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/demo.mjs'], {
    cwd: resolve(import.meta.dirname, '../../..'),
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  expect(status, `${stdout}${stderr}`).toBe(0);
  expect(stdout).toMatch(/p50 +\d+(\.\d+)? ms/);
  expect(stdout).toMatch(/left behind +nothing/);
});
