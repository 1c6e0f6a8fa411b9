import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { runLayer } from './layer-fixture.js';

/** Packs an archive, has erofs-utils check the image, and shows `use` the mounted image beneath `root`. */
export async function withImage(
  root: string,
  archive: Buffer | (() => Iterable<Buffer>),
  use: (dir: string) => Promise<void>,
  options: readonly string[] = [],
): Promise<void> {
  const own = await mkdtemp(join(root, 'image-'));
  const image = join(own, 'image.erofs');
  expect((await runLayer(['pack', '--image', image, ...options], archive)).answer).not.toHaveProperty('error');
  // Reads all that a directory entry leads to, and fails on what does not fit together.
  execFileSync('fsck.erofs', ['--extract', image], { stdio: 'pipe' });
  for (const name of ['target', 'upper', 'work']) await mkdir(join(own, name));
  const at = (name: string) => join(own, name);
  const mount = ['mount', '--target', at('target'), '--upper', at('upper'), '--work', at('work')];
  expect((await runLayer([...mount, '--image', image, '--lower', at('mounted')])).answer).toEqual({});
  try {
    await use(at('mounted'));
  } finally {
    expect((await runLayer(['unmount', '--target', at('target'), '--lower', at('mounted')])).answer).toEqual({});
  }
}
