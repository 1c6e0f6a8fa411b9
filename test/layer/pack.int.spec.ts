import { execFileSync, spawn } from 'node:child_process';
import { lstat, mkdir, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { berthLayer, describeTree, isRoot, isSanitized, LayerFixture, runLayer } from './layer-fixture.js';
import { withImage } from './mounted-image.js';
import { type RawEntry, rawEntry, rawTar } from './raw-tar.js';

const dir = (name: string, more: Partial<RawEntry> = {}): RawEntry => ({ name, type: '5', mode: 0o755, ...more });

describe.skipIf(!isRoot)('packing a layer into an image', () => {
  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(() => fixture.dispose());

  const packed = (entries: readonly RawEntry[], use: (dir: string) => Promise<void>) => withImage(fixture.root, rawTar(...entries), use);
  const attributes = (path: string): string =>
    execFileSync('tar', ['--format=pax', '--xattrs', '--xattrs-include=*', '--no-recursion', '-C', path, '-cf', '-', '.']).toString(
      'latin1',
    );

  it('keeps every attribute to the nanosecond', () =>
    packed(
      [
        dir('bin', { mode: 0o1777, uid: 5, gid: 6, pax: { mtime: '1000.000000001' } }),
        { name: 'bin/tool', content: 'tool', mode: 0o6755, uid: 1000, gid: 70_000, pax: { mtime: '-2.5', uid: '4294967294' } },
        { name: 'bin/again', type: '1', link: 'bin/tool' },
        { name: 'bin/link', type: '2', link: '/etc/passwd', uid: 3, mtime: 3000 },
        { name: 'bin/pipe', type: '6', mode: 0o620, uid: 4 },
        { name: 'bin/disk', type: '4' },
      ],
      async (image) => {
        const facts = async (path: string) => {
          const { mode, uid, gid, mtimeNs, nlink } = await lstat(join(image, path), { bigint: true });
          return [(mode & 0o7777n).toString(8), uid, gid, mtimeNs, nlink];
        };
        expect(await facts('bin')).toEqual(['1777', 5n, 6n, 1_000_000_000_001n, 2n]);
        expect(await facts('bin/tool')).toEqual(['6755', 4_294_967_294n, 70_000n, -2_500_000_000n, 2n]);
        expect(await facts('bin/link')).toEqual(['777', 3n, 0n, 3_000_000_000_000n, 1n]);
        expect(await facts('bin/pipe')).toEqual(['620', 4n, 0n, 0n, 1n]);
        expect((await stat(join(image, 'bin/again'))).ino).toBe((await stat(join(image, 'bin/tool'))).ino);
        expect(await readlink(join(image, 'bin/link'))).toBe('/etc/passwd');
        expect((await lstat(join(image, 'bin/disk'))).isCharacterDevice()).toBe(true);
        expect((await lstat(join(image, 'bin/disk'))).rdev).toBe(0);
      },
    ));

  it('drops the SELinux label of the machine that built the layer', () =>
    packed(
      [dir('./', { pax: { 'SCHILY.xattr.security.selinux': 'system_u:object_r:usr_t:s0', 'SCHILY.xattr.user.root': 'r' } })],
      async (image) => {
        expect(attributes(image)).toContain('SCHILY.xattr.user.root=r');
        expect(attributes(image)).not.toContain('selinux');
      },
    ));

  it('keeps content of every length around its blocks, whatever attributes stand before it', () => {
    const lengths = [0, 1, 31, 32, 33, 511, 512, 3900, 4000, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 8193, 300_000];
    const entries = lengths.flatMap((length): RawEntry[] => [
      { name: `plain-${length}`, content: Buffer.alloc(length, `${length} `) },
      {
        name: `noted-${length}`,
        content: Buffer.alloc(length, `${length} `),
        pax: { 'SCHILY.xattr.user.note': 'n'.repeat(length % 5000) },
      },
    ]);
    return packed(entries, async (image) => {
      for (const { name, content } of entries)
        expect((await readFile(join(image, `${name}`))).equals(content as Buffer), `${name}`).toBe(true);
    });
  });

  it('keeps attributes of files and directories, long ones too, and of a directory named twice the later', () =>
    packed(
      [
        dir('./', { pax: { 'SCHILY.xattr.user.root': 'of the root' } }),
        dir('d', { pax: { 'SCHILY.xattr.user.a': 'first', 'SCHILY.xattr.user.b': 'kept' } }),
        dir('d', { mode: 0o700, pax: { 'SCHILY.xattr.user.a': 'second' } }),
        dir('long', { pax: { 'SCHILY.xattr.user.long': 'x'.repeat(60_000), 'SCHILY.xattr.user.more': 'y'.repeat(50_000) } }),
        {
          name: 'long/file',
          content: 'x',
          pax: { 'SCHILY.xattr.security.capability': Buffer.from('0100000200040000000000000000000000000000', 'hex') },
        },
      ],
      async (image) => {
        expect(attributes(image)).toContain('SCHILY.xattr.user.root=of the root');
        const twice = attributes(join(image, 'd'));
        expect([twice.includes('user.a=second'), twice.includes('user.a=first'), twice.includes('user.b=kept')]).toEqual([
          true,
          false,
          true,
        ]);
        expect((await stat(join(image, 'd'))).mode & 0o777).toBe(0o700);
        expect(attributes(join(image, 'long'))).toContain(`user.long=${'x'.repeat(60_000)}`);
        expect(attributes(join(image, 'long'))).toContain(`user.more=${'y'.repeat(50_000)}`);
        expect(await readFile(join(image, 'long/file'), 'utf8')).toBe('x');
      },
    ));

  it('finds a hundred thousand files in one directory, and names of any bytes', () => {
    const odd = [
      Buffer.from([0xff, 0xfe, 0x80]),
      Buffer.from([1]),
      Buffer.from('-'),
      Buffer.from('. '),
      Buffer.from('..a'),
      Buffer.from('é'),
    ];
    const count = 100_000;
    const archive = function* () {
      for (let index = 0; index < count; index += 1000)
        yield Buffer.concat(
          Array.from({ length: 1000 }, (_, more) => rawEntry({ name: `many/${(index + more) * 7919}`, content: `${index + more}` })),
        );
      yield Buffer.concat(odd.map((name) => rawEntry({ name: Buffer.concat([Buffer.from('many/'), name]), content: name })));
    };
    return withImage(fixture.root, archive, async (image) => {
      expect(await readdir(join(image, 'many'))).toHaveLength(count + odd.length);
      for (const index of [0, 1, 4711, 99_999]) expect(await readFile(join(image, `many/${index * 7919}`), 'utf8')).toBe(`${index}`);
      for (const name of odd) expect((await readFile(Buffer.concat([Buffer.from(`${image}/many/`), name]))).equals(name)).toBe(true);
    });
  });

  it('packs what later entries replaced as if it had never been', () =>
    packed(
      [
        { name: 'tree/deep/leaf', content: 'x' },
        { name: 'kept', type: '1', link: 'tree/deep/leaf' },
        { name: 'tree/deep/other', type: '1', link: 'kept' },
        dir('tree/deep/more'),
        { name: 'tree', content: 'a file now' },
        dir('again'),
        { name: 'again/a', content: '1' },
        { name: 'again', type: '2', link: 'tree' },
        dir('again'),
        dir('again/in'),
      ],
      async (image) => {
        expect((await readdir(image)).sort()).toEqual(['again', 'kept', 'tree']);
        expect((await stat(join(image, 'kept'))).nlink).toBe(1);
        expect(await readFile(join(image, 'kept'), 'utf8')).toBe('x');
        expect(await readFile(join(image, 'tree'), 'utf8')).toBe('a file now');
        expect((await stat(join(image, 'again'))).nlink).toBe(3);
        expect((await stat(image)).nlink).toBe(3);
        expect(await readdir(join(image, 'again'))).toEqual(['in']);
      },
    ));

  it('shows the tree that the same archive is on a disk', async () => {
    const entries = Array.from({ length: 1000 }, (_, index): RawEntry => {
      const name = `d${index % 7}/${'n'.repeat(index % 90)}${index}`;
      return index % 11 === 0
        ? { name, type: '2', link: `t${index}`, uid: index, mtime: index }
        : { name, content: Buffer.alloc((index * 37) % 9000, `${index}`), mode: index % 0o1000, gid: index, mtime: index };
    });
    expect((await fixture.unpack(rawTar(...entries))).status).toBe(0);
    const onDisk = await describeTree(fixture.layer, { times: false });
    await packed(entries, async (image) => expect(await describeTree(image, { times: false })).toEqual(onDisk));
  });

  it('makes equal images of equal archives, hardly longer than they are', async () => {
    const tar = rawTar(
      ...Array.from({ length: 2000 }, (_, index): RawEntry => ({ name: `f${index}`, content: Buffer.alloc((index * 4099) % 20_000, 'x') })),
    );
    const images = await Promise.all(
      ['one', 'two'].map(async (name) => {
        await mkdir(join(fixture.root, name));
        const image = join(fixture.root, name, 'image');
        expect((await runLayer(['pack', '--image', image], tar)).answer.bytes).toBe((await stat(image)).size);
        return readFile(image);
      }),
    );
    expect(images[0]?.equals(images[1] as Buffer)).toBe(true);
    expect(images[0]?.length).toBeLessThan(tar.length * 1.02);
  });

  it.skipIf(isSanitized)('reads the archive where it may do nothing else, and ends with whoever asked', async () => {
    const child = spawn(berthLayer, ['pack', '--image', join(fixture.root, 'image')], { stdio: ['pipe', 'ignore', 'ignore'], env: {} });
    const [pid] = await vi.waitFor(async () => {
      const pids = (await readFile(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8')).trim().split(' ').filter(Boolean);
      expect(pids).toHaveLength(1);
      const status = await readFile(`/proc/${pids[0]}/status`, 'utf8');
      expect(status).toMatch(/^Seccomp:\t2$/m);
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
      for (const set of ['CapPrm', 'CapEff', 'CapInh']) expect(status).toMatch(new RegExp(`^${set}:\\t0+$`, 'm'));
      return pids;
    });
    child.kill('SIGKILL');
    // A machine whose first process reaps nobody keeps its number.
    const state = () =>
      readFile(`/proc/${pid}/status`, 'utf8').then(
        (text) => /^State:\t(.)/m.exec(text)?.[1],
        () => 'gone',
      );
    await vi.waitFor(async () => expect(['gone', 'Z', 'X']).toContain(await state()));
    child.stdin.destroy();
  });

  it('refuses to write over anything', async () => {
    expect((await runLayer(['pack', '--image', join(fixture.root, 'beside')], rawTar({ name: 'a' }))).answer).toMatchObject({
      error: 'io',
    });
    expect(await fixture.isContained()).toBe(true);
  });
});
