import { execFile } from 'node:child_process';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A filesystem's size. */
export interface DiskImageSize {
  readonly bytes: number;
  readonly inodes: number;
}

/** How many of one size wait, and of how many sizes, those asked for last. */
const sparesOfSize = 2;
const sizes = 4;
/** Takings follow each other closely in a burst: what is made ahead must not slow them. */
const refillMs = 50;
/** The root, eight reserved ones, lost+found, and the two directories of the overlay. */
const ownInodes = 16;

const run = promisify(execFile);

/**
 * Empty ext4 filesystems, each in a sparse file of its own, made ahead in the sizes that were asked for last. Not durable: what an earlier process has
 * made ahead is thrown away.
 */
export class DiskImagePool {
  /** The spares of each size, the size that was asked for last at the end. */
  readonly #spares = new Map<string, string[]>();
  #opened: Promise<void> | undefined;
  #made = 0;
  #refilling: Promise<void> | undefined;
  #closed = false;

  /** `dir` is made when missing, and emptied. */
  constructor(private readonly dir: string) {}

  /** Puts an empty filesystem of this size at `path`, on the filesystem of the pool. */
  async take(size: DiskImageSize, path: string): Promise<void> {
    await this.#open();
    const key = `${size.bytes} ${size.inodes}`;
    const spares = this.#spares.get(key) ?? [];
    this.#spares.delete(key);
    this.#spares.set(key, spares);
    const spare = spares.pop();
    if (spare === undefined) await makeDiskImage(path, size);
    else await rename(spare, path);
    this.#refill();
  }

  /** Makes no more ahead, and resolves when none is being made. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#refilling;
  }

  #open(): Promise<void> {
    this.#opened ??= (async () => {
      await mkdir(this.dir, { recursive: true, mode: 0o700 });
      for (const name of await readdir(this.dir)) await rm(join(this.dir, name), { force: true });
    })();
    return this.#opened;
  }

  #refill(): void {
    if (this.#refilling !== undefined || this.#closed) return;
    this.#refilling = new Promise<void>((resolve) => setTimeout(resolve, refillMs))
      .then(() => this.#fill())
      // Whoever takes one next makes it, and is told why it cannot be.
      .catch(() => {})
      .finally(() => {
        this.#refilling = undefined;
      });
  }

  /** Looks anew after each file: others may have been asked for meanwhile. */
  async #fill(): Promise<void> {
    while (!this.#closed) {
      const [oldest] = this.#spares;
      const wanted = [...this.#spares].find(([, spares]) => spares.length < sparesOfSize);
      if (oldest !== undefined && this.#spares.size > sizes) {
        this.#spares.delete(oldest[0]);
        for (const path of oldest[1]) await rm(path, { force: true });
      } else if (wanted !== undefined) {
        const [bytes, inodes] = wanted[0].split(' ').map(Number) as [number, number];
        const path = join(this.dir, `${process.pid}-${this.#made++}`);
        await makeDiskImage(path, { bytes, inodes });
        wanted[1].push(path);
      } else return;
    }
  }
}

/** Makes an ext4 filesystem in a sparse file, which must not be there yet. Without a journal: it does not outlive a crash of the machine. Throws when this machine has no mkfs.ext4. */
export async function makeDiskImage(path: string, { bytes, inodes }: DiskImageSize): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(bytes);
  } finally {
    await file.close();
  }
  const features = ['-O', '^has_journal,^resize_inode', '-E', 'lazy_itable_init=1,nodiscard,root_owner=0:0'];
  const args = ['-q', '-F', '-b', '4096', '-I', '256', '-m', '0', '-N', String(inodes + ownInodes), ...features, path];
  await run('mkfs.ext4', args, { cwd: '/' }).catch(async (error: NodeJS.ErrnoException & { stderr?: string }) => {
    await rm(path, { force: true });
    if (error.code === 'ENOENT') throw new Error('there is no mkfs.ext4: install the package e2fsprogs', { cause: error });
    throw new Error(`mkfs.ext4: ${error.stderr?.trim().split('\n')[0] ?? error.message}`, { cause: error });
  });
}
