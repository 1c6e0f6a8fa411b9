import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, statfs, truncate, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isRoot, nativeProgram } from '../testing/native-program.js';
import { inUserNamespace } from '../testing/user-namespace.js';
import { DiskImagePool } from './disk-image-pool.js';
import { OverlaySnapshotter } from './overlay-snapshotter.js';
import type { DiskLimitMethod, SnapshotLimit } from './snapshotter.js';

const run = promisify(execFile);
const MiB = 1024 * 1024;
const ids = { uidBase: 2_100_000, uidCount: 65_536 };
const other = { uidBase: 2_200_000, uidCount: 65_536 };
/** What a filesystem says that takes no more: of a project's quota ext4 speaks otherwise than xfs. */
const full = [-constants.errno.ENOSPC, -constants.errno.EDQUOT];

/** A filesystem of its own for the test. */
interface Disk {
  readonly path: string;
  unmount(): Promise<void>;
}

async function quotaDisk(folder: string, type: 'ext4' | 'xfs'): Promise<Disk | Error> {
  const image = join(folder, `${type}.disk`);
  await writeFile(image, '');
  await truncate(image, 400 * MiB);
  const make = type === 'ext4' ? ['mkfs.ext4', '-q', '-F', '-O', 'project,quota', image] : ['mkfs.xfs', '-q', image];
  const path = join(folder, 'disk');
  await mkdir(path);
  try {
    await run(make[0] as string, make.slice(1));
    await run('mount', ['-o', 'loop,prjquota', image, path]);
  } catch (error) {
    return error as Error;
  }
  return { path, unmount: () => run('umount', [path]).then(() => {}) };
}

const kinds: readonly { readonly by: DiskLimitMethod; readonly on: 'ext4' | 'xfs' | null }[] = [
  { by: 'image', on: null },
  { by: 'tmpfs', on: null },
  { by: 'project-quota', on: 'ext4' },
  { by: 'project-quota', on: 'xfs' },
];

// Where the kernel's own loading of modules leads nowhere, as in the virtual machine.
beforeAll(async () => {
  for (const module of ['overlay', 'loop', 'quota_v2', 'xfs']) await run('modprobe', ['-q', module]).catch(() => {});
});

describe.skipIf(!isRoot).each(kinds)('a writable layer bounded by $by (of $on)', ({ by, on }) => {
  let folder: string;
  let disk: Disk | null;
  let dir: string;
  let snapshotter: OverlaySnapshotter;
  const limit: SnapshotLimit = { by, bytes: 8 * MiB, inodes: 512 };
  const open = () => new OverlaySnapshotter(join(dir, 'snapshots'), nativeProgram('berth-layer'));

  beforeEach(async (context) => {
    folder = await mkdtemp(join(tmpdir(), 'berth-bound-'));
    const made = on === null ? null : await quotaDisk(folder, on);
    if (made instanceof Error) {
      await rm(folder, { recursive: true, force: true });
      context.skip(`this machine mounts no ${on} with project quota: ${made.message.trim().split('\n').at(-1)}`);
    }
    disk = made as Disk | null;
    dir = disk?.path ?? folder;
    snapshotter = open();
  });
  afterEach(async () => {
    for (const { key } of await snapshotter.list()) await snapshotter.remove(key);
    await snapshotter.close();
    await disk?.unmount();
    await rm(folder, { recursive: true, force: true });
  });

  const loops = async () => {
    const files = await Promise.all(
      (await readdir('/sys/block')).map((name) => readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => '')),
    );
    return files.filter((file) => file.startsWith(join(dir, 'snapshots')));
  };

  it('takes bytes up to its limit and no more, and its neighbour goes on', async () => {
    const one = await snapshotter.prepare('one', [], ids, limit);
    const two = await snapshotter.prepare('two', [], other, limit);
    const free = await statfs(one.rootfs);
    expect(free.blocks * free.bsize).toBeLessThanOrEqual(limit.bytes);
    const script = 'dd if=/dev/urandom of=fill bs=64k count=160 2>err && exit 1; grep -qE "No space left|quota exceeded" err; echo full';
    // The message needs room too.
    expect(await inUserNamespace(one.rootfs, ids, script.replaceAll('err', '/dev/shm/berth-bound-$$'))).toBe('full\n');
    await run('sh', ['-c', 'rm -f /dev/shm/berth-bound-*']);
    const { size } = await stat(join(one.rootfs, 'fill'));
    expect(size).toBeGreaterThan(limit.bytes * 0.8);
    expect(size).toBeLessThanOrEqual(limit.bytes);
    await inUserNamespace(two.rootfs, other, 'head -c 2097152 /dev/urandom > mine; sync; [ $(wc -c < mine) = 2097152 ]');
    expect((await snapshotter.usage('one')).bytes).toBeGreaterThan(limit.bytes * 0.8);
  });

  it('takes files up to its limit and no more', async () => {
    const { rootfs } = await snapshotter.prepare('one', [], ids, limit);
    const made = async (count: number) => {
      for (let i = 0; i < count; i++) await writeFile(join(rootfs, `f${i}`), '');
    };
    const failure = await made(2 * limit.inodes).catch((error: NodeJS.ErrnoException) => error);
    expect(full).toContain(failure?.errno);
    const count = (await readdir(rootfs)).length;
    expect(count).toBeGreaterThan(limit.inodes * 0.9);
    expect(count).toBeLessThan(limit.inodes * 1.2);
  });

  it('takes what a layer gave and the container changes, renames and deletes', async () => {
    const { rootfs } = await snapshotter.prepare('one', [], ids, limit);
    const script = 'mkdir -p a/b; echo x > a/b/c; mv a d; ln d/b/c e; chown 1000:1000 e; rm -r d; cat e; stat -c %u e';
    expect(await inUserNamespace(rootfs, ids, script)).toBe('x\n1000\n');
  });

  it('is found by another process, and returned as it is', async () => {
    const { rootfs } = await snapshotter.prepare('one', [], ids, limit);
    await writeFile(join(rootfs, 'kept'), '');
    const again = open();
    expect(await again.prepare('one', [], ids, limit)).toEqual({ rootfs });
    expect(await readdir(rootfs)).toEqual(['kept']);
    await again.prepare('one', [], ids, { ...limit, bytes: 9 * MiB });
    expect(await readdir(rootfs)).toEqual([]);
    await again.close();
  });

  it('leaves nothing behind, and gives its room back', async () => {
    for (const round of ['first', 'second']) {
      const { rootfs } = await snapshotter.prepare('one', [], ids, limit);
      expect(await loops(), round).toHaveLength(by === 'image' ? 1 : 0);
      await writeFile(join(rootfs, 'most'), Buffer.alloc(6 * MiB, round), { flush: true });
      await snapshotter.remove('one');
      await expect.poll(loops).toEqual([]);
      expect(await readdir(join(dir, 'snapshots'))).not.toContain('one');
    }
    if (by !== 'project-quota') return;
    // Without a limit, the same ids may write as the disk has room.
    const { rootfs } = await snapshotter.prepare('one', [], ids);
    await writeFile(join(rootfs, 'more'), Buffer.alloc(2 * limit.bytes, 'x'), { flush: true });
  });
});

describe.skipIf(!isRoot)('images made ahead', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'berth-spare-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const size = { bytes: 2 * MiB, inodes: 256 };
  const spares = () => readdir(join(folder, 'spare'));

  it('are of the sizes asked for last, and few', async () => {
    const pool = new DiskImagePool(join(folder, 'spare'));
    for (let index = 0; index < 6; index++) await pool.take({ ...size, bytes: (2 + index) * MiB }, join(folder, `taken-${index}`));
    await expect.poll(async () => (await spares()).length, { timeout: 20_000 }).toBe(8);
    await pool.take({ ...size, bytes: 7 * MiB }, join(folder, 'another'));
    expect((await stat(join(folder, 'another'))).size).toBe(7 * MiB);
    await expect.poll(async () => (await spares()).length, { timeout: 20_000 }).toBe(8);
    await pool.close();
  });

  it('of an earlier process are thrown away', async () => {
    await mkdir(join(folder, 'spare'));
    await writeFile(join(folder, 'spare/old'), 'torn');
    const pool = new DiskImagePool(join(folder, 'spare'));
    await pool.take(size, join(folder, 'taken'));
    await pool.close();
    expect(await spares()).not.toContain('old');
  });
});
