import { execFileSync } from 'node:child_process';
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRoot, LayerFixture } from './layer-fixture.js';
import { END, paxRecords, type RawEntry, rawEntry, rawTar } from './raw-tar.js';

const dir = (name: string, more: Partial<RawEntry> = {}): RawEntry => ({ name, type: '5', mode: 0o755, ...more });

describe.skipIf(!isRoot)('unpacking a layer', () => {
  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(async () => {
    const contained = await fixture.isContained();
    await fixture.dispose();
    expect(contained).toBe(true);
  });

  const at = (path: string) => join(fixture.layer, path);
  const unpacked = async (...entries: RawEntry[]) => {
    const outcome = await fixture.unpack(rawTar(...entries));
    expect(outcome.answer.message).toBeUndefined();
    expect(outcome.status).toBe(0);
    return outcome.answer;
  };
  const isWhiteout = async (path: string) => {
    const found = await lstat(at(path));
    return found.isCharacterDevice() && found.rdev === 0;
  };
  /** GNU tar is on every machine, getfattr is not; it writes attributes into pax records. */
  const attribute = (path: string, name: string): string | undefined => {
    const tar = execFileSync('tar', [
      '--format=pax',
      '--xattrs',
      '--xattrs-include=*',
      '--no-recursion',
      '-C',
      fixture.layer,
      '-cf',
      '-',
      '--',
      path,
    ]);
    return new RegExp(`[0-9]+ SCHILY\\.xattr\\.${name.replaceAll('.', '\\.')}=([^]*?)\n(?:[0-9]+ |\0)`).exec(tar.toString('latin1'))?.[1];
  };

  it('keeps owners, modes with their set-id bits, times, links and FIFOs', async () => {
    const answer = await unpacked(
      dir('bin/', { mode: 0o1777, uid: 5, gid: 6, mtime: 1000 }),
      { name: 'bin/tool', content: 'tool', mode: 0o6755, uid: 1000, gid: 70_000, mtime: 2000 },
      { name: 'bin/again', type: '1', link: 'bin/tool' },
      { name: 'bin/link', type: '2', link: '/etc/passwd', uid: 3, mtime: 3000 },
      { name: 'bin/pipe', type: '6', mode: 0o620, uid: 4 },
    );
    expect(answer.entries).toBe(5);
    const facts = async (path: string) => {
      const { mode, uid, gid, mtimeMs } = await lstat(at(path));
      return [(mode & 0o7777).toString(8), uid, gid, mtimeMs / 1000];
    };
    expect(await facts('bin')).toEqual(['1777', 5, 6, 1000]);
    expect(await facts('bin/tool')).toEqual(['6755', 1000, 70_000, 2000]);
    expect((await facts('bin/link')).slice(1)).toEqual([3, 0, 3000]);
    expect((await facts('bin/pipe')).slice(0, 2)).toEqual(['620', 4]);
    expect((await stat(at('bin/again'))).ino).toBe((await stat(at('bin/tool'))).ino);
    expect(await readlink(at('bin/link'))).toBe('/etc/passwd');
  });

  it('keeps user attributes and file capabilities', async () => {
    const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
    await unpacked({
      name: 'ping',
      content: 'x',
      pax: { 'SCHILY.xattr.security.capability': capability, 'SCHILY.xattr.user.note': 'a=b\n!' },
    });
    expect(attribute('ping', 'user.note')).toBe('a=b\n!');
    expect(attribute('ping', 'security.capability')).toBe(capability.toString('latin1'));
  });

  it('takes absolute names and "./" as names from the layer’s root', async () => {
    await unpacked({ name: '/etc/absolute', content: 'a' }, { name: './/etc/./dotted', content: 'b' }, dir('./', { mode: 0o711 }));
    expect((await readdir(at('etc'))).sort()).toEqual(['absolute', 'dotted']);
    expect((await stat(fixture.layer)).mode & 0o777).toBe(0o711);
  });

  it('makes directories that the archive implies as root’s own, whatever the umask', async () => {
    const before = process.umask(0o077);
    await unpacked({ name: 'a/b/c', content: 'x', uid: 9 });
    process.umask(before);
    const { mode, uid } = await stat(at('a/b'));
    expect([(mode & 0o777).toString(8), uid]).toEqual(['755', 0]);
  });

  it('lets later entries replace earlier ones of any kind', async () => {
    await unpacked(
      { name: 'file', content: 'first' },
      { name: 'file', content: 'second' },
      { name: 'tree/deep/leaf', content: 'x' },
      { name: 'tree', content: 'a file now' },
      { name: 'swap', type: '2', link: 'file' },
      dir('swap'),
      { name: 'swap/inner', content: 'y' },
      dir('kept'),
      { name: 'kept/a', content: '1' },
      dir('kept', { mode: 0o700 }),
    );
    expect(await readFile(at('file'), 'utf8')).toBe('second');
    expect(await readFile(at('tree'), 'utf8')).toBe('a file now');
    expect(await readFile(at('swap/inner'), 'utf8')).toBe('y');
    expect(await readdir(at('kept'))).toEqual(['a']);
  });

  it('follows the layer’s own links to directories, within it', async () => {
    await unpacked(
      dir('usr/lib'),
      { name: 'lib', type: '2', link: 'usr/lib' },
      { name: 'lib/libc', content: 'c' },
      { name: 'abs', type: '2', link: '/usr' },
      { name: 'abs/lib/libm', content: 'm' },
    );
    expect((await readdir(at('usr/lib'))).sort()).toEqual(['libc', 'libm']);
  });

  it('makes a whiteout of every device: a layer gives no devices', async () => {
    await unpacked(
      { name: 'dev/sda', type: '4', patch: (header) => header.write('0000010\0', 329, 'latin1') },
      { name: 'dev/null', type: '3' },
      { name: 'dev/replaced', content: 'x' },
      { name: 'dev/replaced', type: '3' },
    );
    for (const name of ['sda', 'null', 'replaced']) expect(await isWhiteout(`dev/${name}`)).toBe(true);
  });

  it('reads pax and GNU long names', async () => {
    const long = `${'d'.repeat(200)}/${'f'.repeat(200)}`;
    await unpacked(
      { name: 'short', content: 'pax', pax: { path: `pax/${long}` } },
      { name: '././@LongLink', type: 'L', content: `gnu/${long}\0` },
      { name: 'short', content: 'gnu' },
      { name: '././@LongLink', type: 'K', content: `${'t'.repeat(300)}\0` },
      { name: 'link', type: '2', link: 'short' },
      { name: 'name', prefix: 'some/prefix', content: 'ustar' },
    );
    expect(await readFile(at(`pax/${long}`), 'utf8')).toBe('pax');
    expect(await readFile(at(`gnu/${long}`), 'utf8')).toBe('gnu');
    expect(await readlink(at('link'))).toBe('t'.repeat(300));
    expect(await readFile(at('some/prefix/name'), 'utf8')).toBe('ustar');
  });

  it('reads numbers in base 256 and ids up to the last but one', async () => {
    await unpacked({ name: 'big', content: 'x', patch: (header) => Buffer.from('80000000fffffffe', 'hex').copy(header, 108) });
    expect((await stat(at('big'))).uid).toBe(0xfffffffe);
  });

  it('needs no end blocks, and reads past them to the input’s end', async () => {
    expect((await fixture.unpack(rawEntry({ name: 'a', content: 'x' }))).status).toBe(0);
    expect((await fixture.unpack(Buffer.concat([rawTar({ name: 'b' }), Buffer.alloc(1_000_000)]))).status).toBe(0);
    expect((await fixture.unpack(Buffer.alloc(0))).status).toBe(0);
    expect((await readdir(fixture.layer)).sort()).toEqual(['a', 'b']);
  });

  it('tells the disk space, a hard-linked file once', async () => {
    const content = Buffer.alloc(1024 * 1024, 7);
    const { bytes } = await unpacked({ name: 'a', content }, { name: 'b', type: '1', link: 'a' });
    expect(bytes).toBeGreaterThanOrEqual(content.length);
    expect(bytes).toBeLessThan(1.5 * content.length);
  });

  describe('with whiteouts', () => {
    it('hides a lower file by a 0/0 device', async () => {
      await unpacked({ name: 'etc/.wh.gone' }, { name: '.wh.top' });
      expect(await isWhiteout('etc/gone')).toBe(true);
      expect(await isWhiteout('top')).toBe(true);
    });

    it('hides a whole lower directory by an attribute', async () => {
      await unpacked({ name: 'var/.wh..wh..opq' }, { name: 'var/new', content: 'x' });
      expect(attribute('var', 'trusted.overlay.opaque')).toBe('y');
      expect(await readdir(at('var'))).toEqual(['new']);
    });

    it('never hides this layer’s own entries, in whatever order they come', async () => {
      await unpacked(
        { name: 'before', content: 'x' },
        { name: '.wh.before' },
        { name: '.wh.after' },
        { name: 'after', content: 'y' },
        dir('kept'),
        { name: 'kept/in', content: 'z' },
        { name: '.wh.kept' },
        { name: '.wh.made' },
        dir('made'),
        { name: '.wh.implied' },
        { name: 'implied/in', content: 'w' },
      );
      expect(await readFile(at('before'), 'utf8')).toBe('x');
      expect(await readFile(at('after'), 'utf8')).toBe('y');
      expect(await readFile(at('kept/in'), 'utf8')).toBe('z');
      for (const path of ['kept', 'made', 'implied']) expect(attribute(path, 'trusted.overlay.opaque')).toBe('y');
    });

    it('skips what aufs kept for itself', async () => {
      await unpacked({ name: '.wh..wh.plnk', type: '5' }, { name: '.wh..wh.aufs', content: 'x' });
      expect(await readdir(fixture.layer)).toEqual([]);
    });
  });

  const traversal: [string, RawEntry[]][] = [
    ['".." in a name', [{ name: '../beside', content: 'evil' }]],
    ['".." in the middle of a name', [{ name: 'a/../../outside/secret', content: 'evil' }]],
    ['".." in a pax name', [{ name: 'x', content: 'evil', pax: { path: '../outside/secret' } }]],
    [
      '".." in a GNU name',
      [
        { name: 'L', type: 'L', content: '../outside/secret\0' },
        { name: 'x', content: 'evil' },
      ],
    ],
    ['".." in the prefix', [{ name: 'secret', prefix: '../outside', content: 'evil' }]],
    ['".." at the end of a directory', [dir('a/..')]],
    [
      'a file through a link that climbs',
      [
        { name: 'up', type: '2', link: '../outside' },
        { name: 'up/secret', content: 'evil' },
      ],
    ],
    [
      'a file through a dangling link',
      [
        { name: 'd', type: '2', link: '/nowhere' },
        { name: 'd/x', content: 'evil' },
      ],
    ],
    [
      'a file through a link to itself',
      [
        { name: 'loop', type: '2', link: 'loop' },
        { name: 'loop/x', content: 'evil' },
      ],
    ],
    [
      'a file through a link into /proc',
      [
        { name: 'p', type: '2', link: '/proc/self/cwd' },
        { name: 'p/x', content: 'evil' },
      ],
    ],
    ['a directory through a link that climbs', [{ name: 'up', type: '2', link: '../outside' }, dir('up/made', { mode: 0o777 })]],
    ['a whiteout through a link that climbs', [{ name: 'up', type: '2', link: '../outside' }, { name: 'up/.wh.secret' }]],
    ['an opaque mark through a link that climbs', [{ name: 'up', type: '2', link: '../outside' }, { name: 'up/.wh..wh..opq' }]],
    ['a hard link to ".."', [{ name: 'h', type: '1', link: '../outside/secret' }]],
    [
      'a hard link through a link that climbs',
      [
        { name: 'up', type: '2', link: '../outside' },
        { name: 'h', type: '1', link: 'up/secret' },
      ],
    ],
    ['a hard link to an absolute path of the host', [{ name: 'h', type: '1', link: '/etc/passwd' }]],
    ['a hard link to a directory', [dir('a'), { name: 'h', type: '1', link: 'a' }]],
    ['a hard link to the root', [{ name: 'h', type: '1', link: '/' }]],
    ['a hard link to a whiteout', [{ name: '.wh.w' }, { name: 'h', type: '1', link: 'w' }]],
    ['a hard link into what it replaces', [dir('a'), { name: 'a/f' }, { name: 'a', type: '1', link: 'a/f' }]],
    ['a file beneath a file', [{ name: 'f' }, { name: 'f/x', content: 'evil' }]],
    ['the root as a file', [{ name: './', type: '0', pax: { path: '.' } }]],
    ['the root as a link', [{ name: '/', type: '2', link: '../outside' }]],
    ['a whiteout of "."', [{ name: '.wh..' }]],
    ['a whiteout of ".."', [{ name: 'a/.wh...' }]],
    ['a whiteout of nothing', [{ name: '.wh.' }]],
    ['an entry beneath a whiteout', [{ name: '.wh.x/y', content: 'evil' }]],
    ['an empty link', [{ name: 'l', type: '2', link: '' }]],
  ];

  it.each(traversal)('refuses %s, and nothing outside is touched', async (_what, entries) => {
    expect(await fixture.unpack(rawTar(...entries))).toMatchObject({ status: 1, answer: { error: 'layerRejected' } });
  });

  it('writes beside a link of any target, never through it', async () => {
    await unpacked({ name: 'secret', type: '2', link: '../outside/secret' }, { name: 'secret', content: 'mine' });
    expect((await lstat(at('secret'))).isFile()).toBe(true);
  });

  const malformed: [string, Buffer][] = [
    ['no archive at all', Buffer.alloc(5000, 'x')],
    ['a cut header', rawEntry({ name: 'a' }).subarray(0, 300)],
    ['a cut file', rawEntry({ name: 'a', content: Buffer.alloc(5000) }).subarray(0, 2000)],
    ['a wrong checksum', Buffer.from(rawTar({ name: 'a' })).fill('7', 148, 154)],
    ['a size beyond the input', rawTar({ name: 'a', size: 1_000_000 })],
    ['a negative size', rawTar({ name: 'a', patch: (header) => header.fill(0xff, 124, 136) })],
    ['a size beyond 64 bits', rawTar({ name: 'a', patch: (header) => Buffer.from('80ffffffffffffffffffffff', 'hex').copy(header, 124) })],
    ['a number that is none', rawTar({ name: 'a', patch: (header) => header.write('12x4567', 100, 'latin1') })],
    ['the id that means none', rawTar({ name: 'a', patch: (header) => Buffer.from('80000000ffffffff', 'hex').copy(header, 108) })],
    ['an unknown type', rawTar({ name: 'a', type: 'V' })],
    ['a sparse file', rawTar({ name: 'a', type: 'S' })],
    ['a sparse file in pax', rawTar({ name: 'a', pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' } })],
    ['a directory with content', rawTar({ name: 'a', type: '5', content: 'x' })],
    ['an entry after the end', Buffer.concat([Buffer.alloc(512), rawTar({ name: 'a' })])],
    ['an extended header and no entry', Buffer.concat([rawEntry({ name: 'x', type: 'x', content: paxRecords({ path: 'a' }) }), END])],
    ['two extended headers', rawTar({ name: 'x', type: 'x', content: paxRecords({ path: 'a' }) }, { name: 'a', pax: { path: 'b' } })],
    ['a global path', rawTar({ name: 'g', type: 'g', content: paxRecords({ path: 'b' }) }, { name: 'a' })],
    ['NUL in a pax path', rawTar({ name: 'a', pax: { path: 'b\0c' } })],
    ['a name of 256 bytes', rawTar({ name: 'a', pax: { path: 'x'.repeat(256) } })],
    ...['5 a=', '99 path=x\n', '0 a=b\n', ' a=b\n', '-6 a=b\n', '7 =bcd\n', '18446744073709551622 a=b\n', '6 abcd\n'].map(
      (text): [string, Buffer] => [
        `the pax record ${JSON.stringify(text)}`,
        rawTar({ name: 'x', type: 'x', content: text }, { name: 'a' }),
      ],
    ),
    ...[
      'trusted.overlay.redirect',
      'trusted.overlay.opaque',
      'trusted.x',
      'security.selinux',
      'security.ima',
      'system.posix_acl_access',
      'user.overlay.opaque',
      '',
    ].map((name): [string, Buffer] => [
      `the attribute ${JSON.stringify(name)}`,
      rawTar({ name: 'a', pax: { [`SCHILY.xattr.${name}`]: 'y' } }),
    ]),
  ];

  it.each(malformed)('refuses %s', async (_what, tar) => {
    expect(await fixture.unpack(tar)).toMatchObject({ status: 1, answer: { error: 'layerRejected' } });
  });

  const tooLarge: [string, Buffer, string[]][] = [
    ['more bytes than allowed', rawTar({ name: 'a', content: Buffer.alloc(2000) }), ['--max-bytes', '1999']],
    ['a size beyond all disks', rawTar({ name: 'a', pax: { size: `${2n ** 62n}` } }), []],
    ['more entries than allowed', rawTar({ name: 'a' }, { name: 'b' }, { name: 'c' }), ['--max-entries', '2']],
    ['more implied directories than entries allowed', rawTar({ name: 'a/b/c/d/e/f' }), ['--max-entries', '4']],
    [
      'an endless row of extended headers',
      Buffer.concat(Array.from({ length: 50 }, () => rawEntry({ name: 'g', type: 'g', content: paxRecords({ comment: 'x' }) }))),
      ['--max-entries', '40'],
    ],
    ['an extended header of megabytes', rawTar({ name: 'x', type: 'x', content: Buffer.alloc(2 * 1024 * 1024, 'x') }), []],
    ['a path of 5000 bytes', rawTar({ name: 'x', pax: { path: Array.from({ length: 50 }, () => 'y'.repeat(100)).join('/') } }), []],
    ['a tree 300 deep', rawTar({ name: 'x', pax: { path: Array.from({ length: 300 }, () => 'y').join('/') } }), []],
    [
      'a hundred attributes',
      rawTar({ name: 'a', pax: Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`SCHILY.xattr.user.${index}`, 'v'])) }),
      [],
    ],
    ['bytes after the end beyond all measure', Buffer.concat([rawTar({ name: 'a' }), Buffer.alloc(300_000)]), ['--max-bytes', '200000']],
  ];

  it.each(tooLarge)('refuses %s as too large', async (_what, tar, options) => {
    expect(await fixture.unpack(tar, ...options)).toMatchObject({ status: 1, answer: { error: 'tooLarge' } });
  });

  it('takes millions of bytes of legal excess up to its limits', async () => {
    const many = Array.from({ length: 3000 }, (_, index): RawEntry => ({ name: `d${index % 50}/f${index}`, content: 'x' }));
    expect((await fixture.unpack(rawTar(...many), '--max-entries', '3100')).answer.entries).toBe(3000);
  });
});
