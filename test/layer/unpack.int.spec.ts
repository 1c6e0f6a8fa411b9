import { execFileSync } from 'node:child_process';
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRoot, LayerFixture } from './layer-fixture.js';
import { type RawEntry, rawEntry, rawTar } from './raw-tar.js';

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

  it('drops the SELinux label of the machine that built the layer', async () => {
    await unpacked({
      name: 'a',
      content: 'x',
      pax: { 'SCHILY.xattr.security.selinux': 'system_u:object_r:usr_t:s0', 'SCHILY.xattr.user.note': 'n' },
    });
    expect(attribute('a', 'security.selinux')).toBeUndefined();
    expect(attribute('a', 'user.note')).toBe('n');
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

  it('writes beside a link of any target, never through it', async () => {
    await unpacked({ name: 'secret', type: '2', link: '../outside/secret' }, { name: 'secret', content: 'mine' });
    expect((await lstat(at('secret'))).isFile()).toBe(true);
  });

  it('takes millions of bytes of legal excess up to its limits', async () => {
    const many = Array.from({ length: 3000 }, (_, index): RawEntry => ({ name: `d${index % 50}/f${index}`, content: 'x' }));
    expect((await fixture.unpack(rawTar(...many), '--max-entries', '3100')).answer.entries).toBe(3000);
  });
});
