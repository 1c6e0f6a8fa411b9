import { execFileSync } from 'node:child_process';
import { chmod, lstat, mkdir, open, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LayerEntry } from '../build/build-layer.js';
import { inUserNamespace } from '../testing/user-namespace.js';
import type { SnapshotLayer, Snapshotter } from './snapshotter.js';

/** What the suite needs of an implementation; all of it on a directory that `dispose` removes. */
export interface SnapshotterFixture {
  readonly snapshotter: Snapshotter;
  /** The implementation anew on the same directory, as after a restart of the process. */
  reopen(): Snapshotter;
  /** Unpacks a layer as the content store does; `.wh.` names are whiteouts. */
  layer(entries: readonly LayerEntry[]): Promise<SnapshotLayer>;
  /** The same of a gzip blob. */
  layerOf(blob: Buffer, digests: { readonly digest: string; readonly diffId: string }): Promise<SnapshotLayer>;
  /** Everything in the snapshotter's directory, to show that nothing is left. */
  leftovers(): Promise<readonly string[]>;
  dispose(): Promise<void>;
}

const IDS = { uidBase: 2_000_000, uidCount: 65_536 };
const file = (path: string, content = path, more: object = {}): LayerEntry => ({ type: 'file', path, content, ...more });
const mountedUnder = async (path: string) =>
  (await readFile('/proc/self/mounts', 'utf8')).split('\n').filter((line) => line.includes(path));

/** Two thousand and more levels: deeper than any path name reaches. */
async function growDeepTree(dir: string): Promise<void> {
  const chain = Array.from({ length: 900 }, () => 'deep')
    .join('/')
    .slice(0, 3500);
  const trunk = chain.split('/').slice(0, 600).join('/');
  for (let round = 0; round < 4; round++) {
    await mkdir(join(dir, `new/${trunk}`), { recursive: true });
    if (round > 0) await rename(join(dir, 'grown'), join(dir, `new/${trunk}/grown`));
    await rename(join(dir, 'new'), join(dir, 'grown'));
  }
}

/** What every snapshotter promises. Needs root and a kernel with idmapped mounts on the directory's filesystem. */
export function snapshotterSuite(name: string, open_: () => Promise<SnapshotterFixture>): void {
  describe(name, () => {
    let fixture: SnapshotterFixture;
    let base: SnapshotLayer;

    beforeEach(async () => {
      fixture = await open_();
      base = await fixture.layer([
        file('etc/config', 'original'),
        file('etc/gone', 'lower'),
        file('owned', 'by 33', { uid: 33, gid: 33 }),
        file('bin/tool', '#!/bin/sh\n', { mode: 0o4755 }),
        { type: 'directory', path: 'var/full' },
        file('var/full/inner'),
        { type: 'symlink', path: 'link', target: '/etc/config' },
      ]);
    });
    afterEach(() => fixture.dispose());

    const contentOf = (rootfs: string, path: string) => readFile(join(rootfs, path), 'utf8');

    it('shows the layers as one tree, upper ones first, whiteouts heeded', async () => {
      const upper = await fixture.layer([
        file('etc/config', 'changed'),
        file('etc/.wh.gone', ''),
        file('new'),
        file('var/full/.wh..wh..opq', ''),
      ]);
      const { rootfs } = await fixture.snapshotter.prepare('one', [base, upper]);
      expect(await contentOf(rootfs, 'etc/config')).toBe('changed');
      expect((await readdir(rootfs)).sort()).toEqual(['bin', 'etc', 'link', 'new', 'owned', 'var']);
      expect(await readdir(join(rootfs, 'etc'))).toEqual(['config']);
      expect(await readdir(join(rootfs, 'var/full'))).toEqual([]);
    });

    it('shows nothing of what lies beneath a layer that hides it all', async () => {
      const cover = await fixture.layer([file('.wh..wh..opq', ''), file('alone')]);
      const { rootfs } = await fixture.snapshotter.prepare('one', [base, cover, await fixture.layer([file('above')])]);
      expect((await readdir(rootfs)).sort()).toEqual(['above', 'alone']);
    });

    it('keeps what one container writes from the other and from the layer', async () => {
      const one = await fixture.snapshotter.prepare('one', [base]);
      const two = await fixture.snapshotter.prepare('two', [base]);
      await writeFile(join(one.rootfs, 'etc/config'), 'mine');
      await writeFile(join(one.rootfs, 'added'), 'mine');
      expect(await contentOf(two.rootfs, 'etc/config')).toBe('original');
      expect(await readdir(two.rootfs)).not.toContain('added');
      await fixture.snapshotter.remove('one');
      const three = await fixture.snapshotter.prepare('one', [base]);
      expect(await contentOf(three.rootfs, 'etc/config')).toBe('original');
    });

    it('gives the container’s root its own filesystem, in its own range of ids', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base], IDS);
      const script = [
        'id -u',
        'stat -c "%u %g %a" . etc/config owned bin/tool',
        'echo " and more" >> etc/config; cat etc/config', // copies up
        'echo new > new; mkdir -p a/b; mv new a/b/new',
        'rm etc/gone; rm -r var/full; mkdir var/full',
        'chown 1000:1000 etc/config; chown 65535:65535 owned; chmod 0600 owned',
        'ln etc/config etc/hard; ln -s nowhere dangling; mkfifo pipe',
        'chown 70000 etc/config 2>/dev/null && exit 1 || true', // beyond its range
        'stat -c "%u %g %a" etc/config owned var/full',
        'ls var/full etc',
      ].join('\n');
      expect((await inUserNamespace(rootfs, IDS, script)).split('\n')).toEqual([
        '0',
        '0 0 755',
        '0 0 644',
        '33 33 644',
        '0 0 4755',
        'original and more',
        '1000 1000 644',
        '65535 65535 600',
        '0 0 755',
        'etc:',
        'config',
        'hard',
        '',
        'var/full:',
        '',
      ]);
      expect((await stat(join(rootfs, 'etc/config'))).uid).toBe(IDS.uidBase + 1000);
      const other = await fixture.snapshotter.prepare('two', [base], { ...IDS, uidBase: 3_000_000 });
      expect((await stat(join(other.rootfs, 'etc/config'))).uid).toBe(3_000_000);
      expect(await contentOf(other.rootfs, 'etc/config')).toBe('original');
    });

    it('offers no devices, whoever made them', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base]);
      execFileSync('mknod', [join(rootfs, 'null'), 'c', '1', '3']);
      await expect(open(join(rootfs, 'null'), 'r')).rejects.toMatchObject({ code: 'EACCES' });
    });

    it('stacks a hundred layers and more, the same one several times, and none', async () => {
      const layers: SnapshotLayer[] = [];
      for (let index = 0; index < 130; index++) layers.push(await fixture.layer([file('top', `${index}`), file(`only-${index}`)]));
      const { rootfs } = await fixture.snapshotter.prepare('many', [...layers, base, layers[0] as SnapshotLayer, base], IDS);
      expect(await contentOf(rootfs, 'top')).toBe('0');
      expect(await readdir(rootfs)).toHaveLength(1 + 130 + 5);
      const { rootfs: scratch } = await fixture.snapshotter.prepare('none', [], IDS);
      expect(await readdir(scratch)).toEqual([]);
      await inUserNamespace(scratch, IDS, 'echo x > y');
    });

    it('returns a prepared snapshot as it is when asked again, also after a restart', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base], IDS);
      await writeFile(join(rootfs, 'kept'), 'yes');
      for (const snapshotter of [fixture.snapshotter, fixture.reopen()]) {
        expect(await snapshotter.prepare('one', [base], IDS)).toEqual({ rootfs });
        expect(await contentOf(rootfs, 'kept')).toBe('yes');
        expect(await snapshotter.list()).toEqual([{ key: 'one', layers: [base.diffId], mounted: true }]);
      }
      expect(await mountedUnder(rootfs)).toHaveLength(1);
    });

    it('makes anew what a reboot left unmounted', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base], IDS);
      await writeFile(join(rootfs, 'old'), '');
      execFileSync('umount', [rootfs]);
      expect(await fixture.snapshotter.list()).toMatchObject([{ key: 'one', mounted: false }]);
      await fixture.snapshotter.prepare('one', [base], IDS);
      expect(await readdir(rootfs)).not.toContain('old');
    });

    it('prepares once for two who ask at the same time', async () => {
      const [one, two] = await Promise.all([1, 2].map(() => fixture.snapshotter.prepare('one', [base])));
      expect(one).toEqual(two);
      expect(await mountedUnder(one?.rootfs ?? '')).toHaveLength(1);
    });

    it('removes whatever a container left', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base], IDS);
      await growDeepTree(rootfs);
      await writeFile(Buffer.concat([Buffer.from(`${rootfs}/`), Buffer.from([0xff, 0x0a, 0x5c, 0x2d])]), '');
      await symlink('/', join(rootfs, 'host'));
      await symlink('.', join(rootfs, 'loop'));
      await inUserNamespace(rootfs, IDS, 'mkdir -m 000 shut; mkdir -p closed/in; chmod 000 closed; mkfifo -- -rf; rm -r bin');
      await chmod(join(rootfs, 'etc'), 0o000);
      await fixture.snapshotter.remove('one');
      expect(await mountedUnder(rootfs)).toEqual([]);
      expect(await fixture.leftovers()).toEqual([]);
      expect(await lstat('/etc/passwd')).toBeDefined();
      await expect(fixture.snapshotter.remove('one')).resolves.toBeUndefined();
    });

    it('mounts each layer once for all who stand on it, and no longer than anybody does', async () => {
      const upper = await fixture.layer([file('above')]);
      const mountsOf = async (layers: readonly SnapshotLayer[]) => {
        const held = await fixture.snapshotter.layerMounts();
        for (const path of held) expect(await mountedUnder(path)).toHaveLength(1);
        expect(held).toHaveLength(layers.filter(({ form }) => form === 'image').length);
        return held;
      };
      expect(await mountsOf([])).toEqual([]);
      await fixture.snapshotter.prepare('one', [base, upper], IDS);
      const [first] = await mountsOf([base, upper]);
      await Promise.all(['two', 'three'].map((key) => fixture.snapshotter.prepare(key, [base], { ...IDS, uidBase: 3_000_000 })));
      await mountsOf([base, upper]);
      await fixture.snapshotter.remove('one');
      await mountsOf([base]);
      const again = fixture.reopen();
      expect(await again.layerMounts()).toEqual(await fixture.snapshotter.layerMounts());
      await Promise.all(['two', 'three'].map((key) => again.remove(key)));
      expect(await again.layerMounts()).toEqual([]);
      if (first !== undefined) expect(await mountedUnder(first)).toEqual([]);
      expect(await fixture.leftovers()).toEqual([]);
    });

    it('takes down layers’ mounts that a crash left to nobody', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base]);
      const held = await fixture.snapshotter.layerMounts();
      execFileSync('umount', [rootfs]);
      execFileSync('rm', ['-r', join(rootfs, '..')]);
      expect(await fixture.reopen().layerMounts()).toEqual([]);
      for (const path of held) expect(await mountedUnder(path)).toEqual([]);
      expect(await fixture.leftovers()).toEqual([]);
    });

    it('removes a snapshot that is still in use', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base]);
      const held = await open(join(rootfs, 'etc/config'), 'r');
      await fixture.snapshotter.remove('one');
      await held.close();
      expect(await fixture.leftovers()).toEqual([]);
    });

    it('leaves nothing when it cannot prepare', async () => {
      await expect(fixture.snapshotter.prepare('one', [{ ...base, path: '/nonexistent' }], IDS)).rejects.toThrow();
      expect(await fixture.leftovers()).toEqual([]);
      expect(await fixture.snapshotter.list()).toEqual([]);
    });

    it('measures what a container wrote, holes not counted', async () => {
      const { rootfs } = await fixture.snapshotter.prepare('one', [base]);
      const before = await fixture.snapshotter.usage('one');
      await writeFile(join(rootfs, 'big'), Buffer.alloc(1024 * 1024, 1));
      const sparse = await open(join(rootfs, 'sparse'), 'w');
      await sparse.truncate(1024 ** 3);
      await sparse.close();
      const after = await fixture.snapshotter.usage('one');
      expect(after.inodes - before.inodes).toBe(2);
      expect(after.bytes - before.bytes).toBeGreaterThanOrEqual(1024 * 1024);
      expect(after.bytes - before.bytes).toBeLessThan(2 * 1024 * 1024);
      expect(await fixture.snapshotter.usage('absent')).toEqual({ bytes: 0, inodes: 0 });
    });

    describe('telling what was written', () => {
      const told = async (key: string, max = 100) =>
        (await fixture.snapshotter.changes(key, max))?.changes.map(({ kind, path }) => `${kind} ${path}`);

      it('tells nothing of what nobody touched, and null of a missing key', async () => {
        await fixture.snapshotter.prepare('one', [base]);
        expect(await fixture.snapshotter.changes('one', 100)).toEqual({ changes: [], truncated: false });
        expect(await fixture.snapshotter.changes('absent', 100)).toBeNull();
      });

      it.each([
        ['ids of its own', IDS],
        ['the ids of the host', undefined],
      ])('tells what was added, changed and deleted, through links nowhere, with %s', async (_, ids) => {
        const top = await fixture.layer([file('etc/extra'), file('opt/kept/deep/file')]);
        const { rootfs } = await fixture.snapshotter.prepare('one', [base, top], ids);
        const script = `
          echo new > etc/new; echo changed > etc/config; rm etc/gone
          rm -r var/full; mkdir var/full; echo again > var/full/fresh
          ln -s /etc opt/outside; chmod 0700 opt/kept; echo x >> opt/kept/deep/file; mkdir -p made/here`;
        if (ids === undefined) execFileSync('sh', ['-euc', script], { cwd: rootfs });
        else await inUserNamespace(rootfs, ids, script);
        expect(await told('one')).toEqual([
          'C /etc',
          'C /etc/config',
          'D /etc/gone',
          'A /etc/new',
          'A /made',
          'A /made/here',
          'C /opt',
          'C /opt/kept',
          // Of opt/kept/deep nothing changed but what is in it.
          'C /opt/kept/deep/file',
          'A /opt/outside',
          'C /var',
          'C /var/full',
          'A /var/full/fresh',
          'D /var/full/inner',
        ]);
        expect(await told('one', 3)).toEqual(['C /etc', 'C /etc/config', 'D /etc/gone']);
        expect((await fixture.snapshotter.changes('one', 3))?.truncated).toBe(true);
      });

      it('goes on after a restart of the process', async () => {
        const { rootfs } = await fixture.snapshotter.prepare('one', [base]);
        await writeFile(join(rootfs, 'new'), '');
        expect(await fixture.reopen().changes('one', 100)).toEqual({ changes: [{ kind: 'A', path: '/new' }], truncated: false });
      });
    });

    describe('writing what was written as a layer', () => {
      const limits = { layerBytesMax: 2 ** 30, layerEntriesMax: 10_000 };
      /** All that a tree is, in the order of its names. */
      const tree = (rootfs: string) =>
        execFileSync(
          'sh',
          [
            '-c',
            "find . -mindepth 1 -printf '%P %y %m %U:%G %n %l %s %Ts\\n' | sed 's/^\\([^ ]* d .*\\) [0-9]* \\([0-9]*\\)$/\\1 \\2/' | sort",
          ],
          { cwd: rootfs, encoding: 'utf8' },
        );
      const script = `
        echo new > etc/new; ln etc/new bin/same; echo changed > etc/config; rm etc/gone
        rm -r var/full; mkdir var/full; echo again > var/full/fresh; chmod 4711 bin/tool
        ln -s /etc out; mkdir -p a/b; chown 7:8 a/b; mkfifo a/pipe; rm owned; mkdir owned
        touch "a/$(printf 'long%.0s' $(seq 50))"; dd if=/dev/zero of=a/big bs=64k count=5 2>/dev/null`;

      it('gives a layer that shows the same once more, whoever owns it, and the same bytes for the same tree', async () => {
        const { rootfs } = await fixture.snapshotter.prepare('one', [base], IDS);
        await inUserNamespace(rootfs, IDS, script);
        const file = join(rootfs, '../../written');
        const written = await fixture.snapshotter.writeLayer('one', file, limits);
        expect(written).not.toBeNull();
        if (written === null) return;
        const again = await fixture.snapshotter.prepare('two', [base, await fixture.layerOf(await readFile(file), written)], IDS);
        expect(tree(rootfs)).toMatch(/^a\/b d 755 \d+:\d+ /m);
        expect(tree(again.rootfs)).toBe(tree(rootfs));
        expect(await contentOf(again.rootfs, 'var/full/fresh')).toBe('again\n');
        expect((await stat(join(again.rootfs, 'bin/same'))).ino).toBe((await stat(join(again.rootfs, 'etc/new'))).ino);
        await rm(file);
        expect(await fixture.snapshotter.writeLayer('one', file, limits)).toEqual(written);
        await rm(file);
      });

      it('refuses a name that a layer would take for a deletion, and more than the limits', async () => {
        const { rootfs } = await fixture.snapshotter.prepare('one', [base]);
        const file = join(rootfs, '../../written');
        await writeFile(join(rootfs, '.wh.etc'), '');
        await expect(fixture.snapshotter.writeLayer('one', file, limits)).rejects.toMatchObject({ code: 'layerRejected' });
        await rm(join(rootfs, '.wh.etc'));
        await rm(file, { force: true });
        await writeFile(join(rootfs, 'big'), Buffer.alloc(100_000));
        await expect(fixture.snapshotter.writeLayer('one', file, { ...limits, layerBytesMax: 50_000 })).rejects.toMatchObject({
          code: 'tooLarge',
        });
        await rm(file, { force: true });
        expect(await fixture.snapshotter.writeLayer('absent', file, limits)).toBeNull();
      });
    });

    it.each(['', '.', '..', 'a/b', '../up', '.hidden', 'x'.repeat(200), 'nul\0'])('refuses the key %j', async (key) => {
      await expect(fixture.snapshotter.prepare(key, [base])).rejects.toThrow(RangeError);
      await expect(fixture.snapshotter.remove(key)).rejects.toThrow(RangeError);
    });
  });
}
