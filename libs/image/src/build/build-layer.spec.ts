import { execFileSync } from 'node:child_process';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildLayer, type LayerEntry } from './build-layer.js';

/** What GNU tar finds in a layer: one line an entry, numeric owners. */
const listed = async (entries: LayerEntry[]): Promise<string[]> => {
  const tar = gunzipSync((await buildLayer(entries)).blob);
  return execFileSync('tar', ['-tvf', '-', '--numeric-owner', '--full-time', '--quoting-style=literal'], {
    input: tar,
    env: { TZ: 'UTC', PATH: process.env.PATH },
  })
    .toString()
    .replace(/\n$/, '')
    .split('\n');
};

describe('a layer', () => {
  it('is what GNU tar reads back, parents first and implied ones made', async () => {
    expect(
      await listed([
        { type: 'hardlink', path: 'bin/b', target: '/usr/bin/a' },
        { type: 'file', path: '/usr/bin/a', content: 'x', mode: 0o4755, uid: 7, gid: 8 },
        { type: 'symlink', path: 'lib', target: 'usr/lib' },
        { type: 'directory', path: 'tmp', mode: 0o1777 },
      ]),
    ).toEqual([
      'drwxr-xr-x 0/0               0 1970-01-01 00:00:00 bin/',
      'lrwxrwxrwx 0/0               0 1970-01-01 00:00:00 lib -> usr/lib',
      'drwxrwxrwt 0/0               0 1970-01-01 00:00:00 tmp/',
      'drwxr-xr-x 0/0               0 1970-01-01 00:00:00 usr/',
      'drwxr-xr-x 0/0               0 1970-01-01 00:00:00 usr/bin/',
      '-rwsr-xr-x 7/8               1 1970-01-01 00:00:00 usr/bin/a',
      'hrw-r--r-- 0/0               0 1970-01-01 00:00:00 bin/b link to usr/bin/a',
    ]);
  });

  it('does not depend on the order of its entries', async () => {
    const entries: LayerEntry[] = ['c', 'a/x', 'b', 'a'].map((path) =>
      path === 'a' ? { type: 'directory', path } : { type: 'file', path, content: path },
    );
    const [one, two] = [await buildLayer(entries), await buildLayer([...entries].reverse())];
    expect(one.diffId).toBe(two.diffId);
    expect(one.digest).toBe(two.digest);
  });

  it('keeps names of any length and script, and owners of any size', async () => {
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
      .map((text) => text.replace(/[/\0\n\r.\\]/g, '_').slice(0, 60) || 'x');
    const path = fc.array(name, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('/'));
    await fc.assert(
      fc.asyncProperty(path, fc.integer({ min: 0, max: 2 ** 32 - 2 }), async (file, uid) => {
        const lines = await listed([{ type: 'file', path: file, content: 'content', uid }]);
        const last = lines.at(-1) ?? '';
        expect(last).toContain(` ${uid}/0 `);
        expect(last.endsWith(` 1970-01-01 00:00:00 ${file}`)).toBe(true);
      }),
      { numRuns: 30, examples: [[' ', 0]] },
    );
  });

  it('refuses a path that leads out of it', async () => {
    await expect(buildLayer([{ type: 'file', path: 'a/../../b', content: '' }])).rejects.toThrow(RangeError);
  });
});
