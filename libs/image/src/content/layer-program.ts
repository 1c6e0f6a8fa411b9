import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { ImageError } from '../image-error.js';
import type { LayerCompression } from '../registry/media-types.js';
import type { PartialBlob } from './partial-blobs.js';

export interface UnpackLimits {
  /** Bytes of a layer's files together. */
  readonly layerBytesMax: number;
  readonly layerEntriesMax: number;
}

/**
 * What a layer is on disk: `image`, one EROFS file that the kernel mounts; or `directory`, the tree itself, for hosts whose kernel mounts no such file.
 */
export type LayerForm = 'image' | 'directory';

/** A layer's blob as its manifest describes it. */
export interface LayerBlob {
  readonly digest: string;
  readonly diffId: string;
  readonly compression: LayerCompression;
}

export interface MadeLayer {
  /** Disk space. */
  readonly bytes: number;
  readonly entries: number;
  /** Length of the uncompressed archive. */
  readonly archiveBytes: number;
}

/** What bounds an overlay's writable layer: a filesystem of its own, or a quota on the one that holds it. */
export type OverlayBound =
  | { readonly by: 'image'; readonly image: string }
  | { readonly by: 'tmpfs'; readonly bytes: number; readonly inodes: number }
  | { readonly by: 'project'; readonly bytes: number; readonly inodes: number; readonly project: number };

export interface OverlayMount {
  readonly target: string;
  /** Unused where the bound is a filesystem of its own. */
  readonly upper: string;
  readonly work: string;
  readonly bound?: OverlayBound | undefined;
  /** Topmost first: a tree, or where an image is to be mounted. */
  readonly lowers: readonly { readonly dir: string; readonly image?: string | undefined }[];
  readonly ids?: { readonly uidBase: number; readonly uidCount: number } | undefined;
}

/** A writable layer and what it lies on, as `OverlayMount` has them. */
export type WritableLayer = Pick<OverlayMount, 'target' | 'upper' | 'lowers' | 'ids'>;

/** Added, changed or deleted, and the absolute path; what is no UTF-8 in it is U+FFFD. */
export interface Change {
  readonly kind: 'A' | 'C' | 'D';
  readonly path: string;
}

export interface ChangeList {
  readonly changes: readonly Change[];
  /** There are more. */
  readonly truncated: boolean;
}

type LayerProcess = ChildProcessByStdio<Writable, Readable, Readable>;

const OUTPUT_MAX = 16 * 1024;
/** So long a list of changes may get, of paths as long as the program lists them. */
const CHANGES_OUTPUT_MAX = 64 * 1024 * 1024;

async function collect(stream: Readable, max = OUTPUT_MAX): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    if (length < max) chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
  }
  return Buffer.concat(chunks).toString('utf8').slice(0, max);
}

function parseAnswer(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

const refusals: readonly unknown[] = ['layerRejected', 'tooLarge', 'digestMismatch'] satisfies ImageError['code'][];

/**
 * The native program `berth-layer` (docs/contracts.md). A layer's fault is an `ImageError` (`layerRejected`, `tooLarge`, `digestMismatch`); anything else
 * that it reports is the machine's, a plain `Error`.
 */
export class LayerProgram {
  constructor(readonly path: string) {}

  /**
   * Makes a layer of its blob: at `path`, a file that is not there yet or an empty directory. On disk when it returns. The program judges the bytes by
   * both digests, the blob's before all else. With `partial`, the bytes go into that file and those it holds already come before the chunks. Throws what `chunks` throws, too; of a directory, what was made then is the caller's to remove.
   */
  async make(
    form: LayerForm,
    path: string,
    blob: LayerBlob,
    limits: UnpackLimits,
    chunks: AsyncIterable<Buffer>,
    partial?: PartialBlob,
  ): Promise<MadeLayer> {
    const [verb, option] = form === 'image' ? ['pack', '--image'] : ['unpack', '--dir'];
    const bounds = ['--max-bytes', String(limits.layerBytesMax), '--max-entries', String(limits.layerEntriesMax)];
    return this.#read(verb as string, [option as string, path, ...bounds, ...blobArguments(blob)], chunks, partial);
  }

  /** Reads a blob to its end and compares both its digests; keeps nothing of it. `tooLarge` for an archive of more than `archiveBytesMax`. */
  async verify(blob: LayerBlob, archiveBytesMax: number, chunks: AsyncIterable<Buffer>): Promise<void> {
    await this.#read('verify', ['--max-bytes', String(archiveBytesMax), ...blobArguments(blob)], chunks);
  }

  /** The sha256 of a file as it is, "sha256:" and hex. Throws when it cannot be read. */
  async digest(file: string): Promise<string> {
    const { digest } = await this.#run('digest', ['--file', file]);
    return String(digest);
  }

  async mount({ target, upper, work, lowers, ids, bound }: OverlayMount): Promise<void> {
    const place = bound === undefined || bound.by === 'project' ? ['--upper', upper, '--work', work] : [];
    await this.#run('mount', ['--target', target, ...place, ...boundArguments(bound), ...stackArguments({ lowers, ids })]);
  }

  /** At most `max` changes, parents first and names in the order of their bytes. */
  async changes({ target, upper, ...stack }: WritableLayer, max: number): Promise<ChangeList> {
    const args = ['--target', target, '--upper', upper, '--max-entries', String(max), ...stackArguments(stack)];
    const { changes, truncated } = await this.#run('changes', args, CHANGES_OUTPUT_MAX);
    return { changes: changes as Change[], truncated: truncated === true };
  }

  /** Detaches an overlay, and layers' images at the directories where `mount` mounted them. */
  async unmount(target: string, images: readonly string[] = []): Promise<void> {
    await this.#run('unmount', ['--target', target, ...images.flatMap((dir) => ['--lower', dir])]);
  }

  /** A writable layer as a layer's archive, read to its end by `sink`. Nothing may write to the layer meanwhile. Returns the archive's digest. */
  async archive(
    { target, upper, ...stack }: WritableLayer,
    limits: UnpackLimits,
    sink: (archive: Readable) => Promise<void>,
  ): Promise<string> {
    const bounds = ['--max-bytes', String(limits.layerBytesMax), '--max-entries', String(limits.layerEntriesMax)];
    const child = this.#spawn('archive', ['--target', target, '--upper', upper, ...bounds, ...stackArguments(stack)]);
    child.stdin.end();
    const ended = this.#answer(child, 'archive', Promise.resolve(''), collect(child.stderr));
    ended.catch(() => {});
    try {
      await sink(child.stdout);
      const { diffId } = await ended;
      return String(diffId);
    } catch (error) {
      child.kill('SIGKILL');
      // What the program says comes before what it did to the pipe.
      await ended;
      throw error;
    }
  }

  /** Disk space of a tree; throws when there is none. */
  async measure(dir: string): Promise<{ bytes: number; inodes: number }> {
    const answer = await this.#run('measure', ['--dir', dir]);
    return { bytes: Number(answer.bytes), inodes: Number(answer.inodes) };
  }

  /** Removes a tree whatever its depth and names, and with it the limits of the project that it counted for. A missing one is no error. */
  async remove(dir: string, project?: number): Promise<void> {
    await this.#run('remove', ['--dir', dir, ...(project === undefined ? [] : ['--project', String(project)])]);
  }

  async #read(verb: string, args: string[], chunks: AsyncIterable<Buffer>, partial?: PartialBlob): Promise<MadeLayer> {
    const child = this.#spawn(verb, partial ? [...args, '--file', partial.path] : args);
    const ended = this.#finish(child, verb);
    ended.catch(() => {});
    try {
      if (partial) await partial.fill(chunks, (bytes) => child.stdin.write(lengthOf(bytes)) || !child.stdin.destroyed);
      else await feed(child.stdin, chunks, ended);
      child.stdin.end();
      const { bytes, entries, archiveBytes } = await ended;
      return { bytes: Number(bytes), entries: Number(entries), archiveBytes: Number(archiveBytes) };
    } catch (error) {
      child.kill('SIGKILL');
      await ended.catch(() => {});
      throw error;
    }
  }

  async #run(verb: string, args: string[], outputMax?: number): Promise<Record<string, unknown>> {
    const child = this.#spawn(verb, args);
    child.stdin.end();
    return this.#finish(child, verb, outputMax);
  }

  #spawn(verb: string, args: string[]): LayerProcess {
    const child = spawn(this.path, [verb, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: {} });
    // A program that ends early breaks the pipe; its exit tells why.
    child.stdin.on('error', () => {});
    return child;
  }

  async #finish(child: LayerProcess, verb: string, outputMax?: number): Promise<Record<string, unknown>> {
    return this.#answer(child, verb, collect(child.stderr), collect(child.stdout, outputMax));
  }

  /** The program's one line of JSON, on whichever stream it is. */
  async #answer(child: LayerProcess, verb: string, words: Promise<string>, line: Promise<string>): Promise<Record<string, unknown>> {
    const exited = new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(signal ?? String(code)));
    });
    const [stderr, text, status] = await Promise.all([words, line, exited]);
    const answer = parseAnswer(text);
    if (status === '0') return answer;
    const message = typeof answer.message === 'string' ? answer.message : `ended with ${status} ${stderr.trim().slice(0, 500)}`;
    if (refusals.includes(answer.error)) throw new ImageError(answer.error as ImageError['code'], message);
    throw new Error(`berth-layer ${verb}: ${message}`);
  }
}

function stackArguments({ lowers, ids }: Pick<OverlayMount, 'lowers' | 'ids'>): string[] {
  const stacked = lowers.flatMap(({ dir, image }) => [...(image === undefined ? [] : ['--image', image]), '--lower', dir]);
  return ids === undefined ? stacked : [...stacked, '--map', `0:${ids.uidBase}:${ids.uidCount}`];
}

function boundArguments(bound: OverlayBound | undefined): string[] {
  if (bound === undefined) return [];
  const args = ['--bound', bound.by];
  if (bound.by === 'image') return [...args, '--bound-image', bound.image];
  if (bound.by === 'project') args.push('--project', String(bound.project));
  return [...args, '--bound-bytes', String(bound.bytes), '--bound-inodes', String(bound.inodes)];
}

/** Writes chunks as fast as the program takes them, until it wants no more. */
async function feed(stdin: Writable, chunks: AsyncIterable<Buffer>, ended: Promise<unknown>): Promise<void> {
  for await (const chunk of chunks) {
    if (stdin.destroyed) break;
    if (!stdin.write(chunk)) await Promise.race([once(stdin, 'drain').catch(() => {}), ended.catch(() => {})]);
  }
}

/** How the program is told of the length of a file that grows. */
function lengthOf(bytes: number): Buffer {
  const told = Buffer.alloc(8);
  told.writeBigUInt64LE(BigInt(bytes));
  return told;
}

const blobArguments = ({ digest, diffId, compression }: LayerBlob): string[] => [
  '--compression',
  compression,
  '--blob',
  digest,
  '--diff-id',
  diffId,
];
