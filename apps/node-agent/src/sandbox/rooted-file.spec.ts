import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RootedFileRefused, readInRoot } from './rooted-file.js';

describe("a file of a container's root", () => {
  let outside: string;
  let root: string;
  beforeEach(async () => {
    outside = await mkdtemp(join(tmpdir(), 'berth-root-'));
    root = join(outside, 'root');
    await mkdir(join(root, 'etc'), { recursive: true });
    await mkdir(join(root, 'store'));
    await writeFile(join(outside, 'secret'), 'of the host');
    await writeFile(join(root, 'store/passwd'), 'inside');
  });
  afterEach(() => rm(outside, { recursive: true }));

  const read = (path = '/etc/passwd', maxBytes = 100) => readInRoot(root, path, maxBytes);
  const link = (target: string, path = 'etc/passwd') => symlink(target, join(root, path));

  it('is its text, or null when it is not there', async () => {
    expect(await read('/store/passwd')).toBe('inside');
    expect(await read('/store/none')).toBeNull();
    expect(await read('/none/passwd')).toBeNull();
    expect(await read('/store/passwd/below')).toBeNull();
  });

  it.each(['/store/passwd', '../store/passwd', '/../../store/./passwd', '../../../../../store/passwd'])(
    'is found through the link %j',
    async (target) => {
      await link(target);
      expect(await read()).toBe('inside');
    },
  );

  it('is found through a linked directory', async () => {
    await rm(join(root, 'etc'), { recursive: true });
    await link('/store', 'etc');
    expect(await read()).toBe('inside');
  });

  it('is never one of the host', async () => {
    await link(join(outside, 'secret'));
    expect(await read()).toBeNull();
    await link('../../secret', 'etc/relative');
    expect(await read('/etc/relative')).toBeNull();
    expect(await read('/../secret')).toBeNull();
    await link(outside, 'etc/directory');
    expect(await read('/etc/directory/secret')).toBeNull();
  });

  it('is refused when its links lead in circles', async () => {
    await link('/etc/other');
    await link('/etc/passwd', 'etc/other');
    await expect(read()).rejects.toThrow(RootedFileRefused);
  });

  it('is refused when it is no regular file', async () => {
    execFileSync('mkfifo', [join(root, 'etc/passwd')]);
    await expect(read()).rejects.toThrow(/not a regular file/);
    await expect(read('/store')).rejects.toThrow(/not a regular file/);
  });

  it('is refused beyond its limit', async () => {
    await writeFile(join(root, 'etc/passwd'), 'x'.repeat(101));
    await expect(read()).rejects.toThrow(/larger than 100 bytes/);
    expect(await read('/etc/passwd', 101)).toHaveLength(101);
  });
});
