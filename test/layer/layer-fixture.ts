import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const native = process.env.BERTH_NATIVE_DIR ?? join(import.meta.dirname, '../../../native/build');

export const berthLayer = join(native, 'berth-layer');
export const isRoot = process.getuid?.() === 0;
export const isSanitized = native.endsWith('/san');

export interface Outcome {
  readonly status: number | null;
  readonly signal: string | null;
  readonly answer: {
    readonly error?: string;
    readonly message?: string;
    readonly bytes?: number;
    readonly entries?: number;
    readonly inodes?: number;
    readonly blobDigest?: string;
    readonly diffId?: string;
  };
}

export async function runLayer(
  args: readonly string[],
  input: Buffer | (() => Iterable<Buffer>) = Buffer.alloc(0),
  program = berthLayer,
): Promise<Outcome> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: {} });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin.on('error', () => {});
  const closed = once(child, 'close');
  for (const chunk of typeof input === 'function' ? input() : [input]) {
    if (child.exitCode !== null || child.stdin.destroyed) break;
    if (!child.stdin.write(chunk)) await Promise.race([once(child.stdin, 'drain').catch(() => {}), closed]);
  }
  child.stdin.end();
  const [status, signal] = (await closed) as [number | null, string | null];
  if (stderr !== '') throw new Error(`berth-layer wrote: ${stderr}`);
  return { status, signal, answer: stdout === '' ? {} : JSON.parse(stdout) };
}

/** What a layer's archive may become, in a directory of its own; as arguments of berth-layer. */
export interface LayerForm {
  readonly form: string;
  /** Makes it of the archive. */
  make(dir: string): string[];
  /** Stacks it. */
  lower(dir: string): string[];
  /** Takes away what stacking it has mounted besides the overlay. */
  release(dir: string): string[];
}

export const layerForms: readonly LayerForm[] = [
  {
    form: 'unpacked into a directory',
    make: (dir) => ['unpack', '--dir', dir],
    lower: (dir) => ['--lower', dir],
    release: () => [],
  },
  {
    form: 'packed into an image',
    make: (dir) => ['pack', '--image', join(dir, 'image.erofs')],
    lower: (dir) => ['--image', join(dir, 'image.erofs'), '--lower', join(dir, 'mounted')],
    release: (dir) => ['--lower', join(dir, 'mounted')],
  },
];

/** A directory to unpack into, and beside it things that nothing unpacked may ever touch. */
export class LayerFixture {
  private constructor(
    readonly root: string,
    private readonly outside: string,
  ) {}

  static async make(): Promise<LayerFixture> {
    const root = await mkdtemp(join(tmpdir(), 'berth-layer-'));
    await mkdir(join(root, 'layer'));
    await mkdir(join(root, 'outside'));
    await writeFile(join(root, 'outside/secret'), 'untouched', { mode: 0o600 });
    await writeFile(join(root, 'beside'), 'untouched');
    const fixture = new LayerFixture(root, '');
    return new LayerFixture(root, JSON.stringify(await fixture.#surroundings()));
  }

  get layer(): string {
    return join(this.root, 'layer');
  }

  unpack(tar: Buffer | (() => Iterable<Buffer>), ...options: string[]): Promise<Outcome> {
    return runLayer(['unpack', '--dir', this.layer, ...options], tar);
  }

  /** True while nothing outside the layer was changed, linked to, added or removed. */
  async isContained(): Promise<boolean> {
    return JSON.stringify(await this.#surroundings()) === this.outside;
  }

  dispose(): Promise<Outcome> {
    return runLayer(['remove', '--dir', this.root]);
  }

  async #surroundings(): Promise<unknown[]> {
    const paths = ['beside', 'outside', 'outside/secret'];
    const facts = paths.map(async (path) => {
      const { mode, uid, gid, nlink, size, ctimeMs } = await lstat(join(this.root, path));
      return { path, mode, uid, gid, nlink, size, ctimeMs };
    });
    return [
      await readdir(this.root),
      await readdir(join(this.root, 'outside')),
      await readFile(join(this.root, 'outside/secret'), 'utf8'),
      ...(await Promise.all(facts)),
    ];
  }
}

/** Every entry of a tree as one line: type, mode, owner, links, size, time and content or target. Inode numbers are replaced by the first path that has them. */
export async function describeTree(dir: string, options: { times?: boolean } = {}): Promise<string[]> {
  const lines: string[] = [];
  const firstOf = new Map<number, string>();
  const visit = async (path: string): Promise<void> => {
    const full = Buffer.concat([Buffer.from(`${dir}/`), Buffer.from(path, 'latin1')]);
    const found = await lstat(full);
    const kind = found.isDirectory()
      ? 'd'
      : found.isSymbolicLink()
        ? 'l'
        : found.isFIFO()
          ? 'p'
          : found.isCharacterDevice()
            ? `c${found.rdev}`
            : '-';
    const first = firstOf.get(found.ino) ?? path;
    firstOf.set(found.ino, first);
    const content =
      kind === '-' ? (await readFile(full)).toString('base64') : kind === 'l' ? (await readlink(full, 'buffer')).toString('latin1') : '';
    const time = options.times === false ? '' : Math.trunc(found.mtimeMs / 1000);
    lines.push(`${path} ${kind} ${(found.mode & 0o7777).toString(8)} ${found.uid}:${found.gid} ${first} ${time} ${content}`);
    if (kind === 'd')
      for (const name of (await readdir(full, 'buffer')).map((each) => each.toString('latin1')).sort())
        await visit(path === '.' ? name : `${path}/${name}`);
  };
  await visit('.');
  return lines;
}
