import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reportOf, TestBundle } from './bundle.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

const start = (): void => {
  expect(bundle.create(['wait']).stderr).toBe('');
  expect(bundle.runtime(['start', bundle.id]).status).toBe(0);
};
const exec = (options: string[], ...ops: string[]): ReturnType<TestBundle['runtime']> =>
  bundle.runtime(['exec', ...options, bundle.id, '/probe', ...ops]);

describe('a user of exec by name', () => {
  const etc = (files: Record<string, string>): void => {
    bundle.makeDir('etc');
    for (const [name, text] of Object.entries(files)) writeFileSync(join(bundle.rootfs, 'etc', name), text);
  };

  it('is looked up in the container’s files, groups included', () => {
    etc({
      passwd: 'broken\nalice:x:99999999999:1\nalice:x:11:12::/home/alice:\n',
      group: 'wheel:x:20:bob,alice\nother:x:21:malice\nstaff:x:30:\n',
    });
    start();
    expect(reportOf(exec(['-u', 'alice'], 'report'))).toMatchObject({ uid: 11, gid: 12, groups: [20] });
    expect(reportOf(exec(['-u', 'alice:staff'], 'report'))).toMatchObject({ uid: 11, gid: 30 });
    expect(reportOf(exec(['-u', '11'], 'report')).env).toContain('HOME=/home/alice');
    expect(reportOf(exec(['-u', '11', '-e', 'HOME=/own'], 'report')).env).toEqual(['PATH=/bin', 'HOME=/own']);
    expect(exec(['-u', 'mallory'], 'report').stderr).toContain('no user mallory');
  });

  it('is refused when the file is a FIFO, leads out, is endless or a directory', () => {
    bundle.makeDir('etc');
    start();
    const file = join(bundle.rootfs, 'etc/passwd');
    const kinds = [
      () => spawnSync('mkfifo', [file]),
      () => symlinkSync('/proc/self/root/etc/passwd', file),
      () => spawnSync('truncate', ['-s', '1T', file]),
      () => mkdirSync(file),
    ];
    for (const make of kinds) {
      rmSync(file, { force: true });
      make();
      const before = Date.now();
      expect(exec(['-u', 'root'], 'report'), `${make}`).toMatchObject({ status: 255, stdout: '' });
      expect(Date.now() - before).toBeLessThan(5000);
    }
  });
});
