import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { ImageError } from '../image-error.js';

export interface UnpackLimits {
  /** Bytes of a layer's files together. */
  readonly layerBytesMax: number;
  readonly layerEntriesMax: number;
}

export interface OverlayMount {
  readonly target: string;
  readonly upper: string;
  readonly work: string;
  /** Topmost first. */
  readonly lowers: readonly string[];
  readonly ids?: { readonly uidBase: number; readonly uidCount: number } | undefined;
}

type LayerProcess = ChildProcessByStdio<Writable, Readable, Readable>;

const OUTPUT_MAX = 16 * 1024;

async function collect(stream: Readable): Promise<string> {
  let text = '';
  for await (const chunk of stream) if (text.length < OUTPUT_MAX) text += (chunk as Buffer).toString('utf8');
  return text.slice(0, OUTPUT_MAX);
}

function parseAnswer(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/**
 * The native program `berth-layer` (docs/contracts.md). A layer's fault is an `ImageError` (`layerRejected`, `tooLarge`); anything else that it
 * reports is the machine's, a plain `Error`.
 */
export class LayerProgram {
  constructor(readonly path: string) {}

  /** An unpacking in progress: the archive goes into `archive`, and `done` settles when the program has ended. */
  unpack(dir: string, limits: UnpackLimits): { archive: Writable; done: Promise<{ bytes: number; entries: number }>; kill(): void } {
    const args = ['--dir', dir, '--max-bytes', String(limits.layerBytesMax), '--max-entries', String(limits.layerEntriesMax)];
    const child = this.#spawn('unpack', args);
    const done = this.#finish(child, 'unpack').then((answer) => ({ bytes: Number(answer.bytes), entries: Number(answer.entries) }));
    return { archive: child.stdin, done, kill: () => child.kill('SIGKILL') };
  }

  async mount({ target, upper, work, lowers, ids }: OverlayMount): Promise<void> {
    const args = ['--target', target, '--upper', upper, '--work', work, ...lowers.flatMap((lower) => ['--lower', lower])];
    if (ids) args.push('--map', `0:${ids.uidBase}:${ids.uidCount}`);
    await this.#run('mount', args);
  }

  async unmount(target: string): Promise<void> {
    await this.#run('unmount', ['--target', target]);
  }

  /** Disk space of a tree; throws when there is none. */
  async measure(dir: string): Promise<{ bytes: number; inodes: number }> {
    const answer = await this.#run('measure', ['--dir', dir]);
    return { bytes: Number(answer.bytes), inodes: Number(answer.inodes) };
  }

  /** Removes a tree whatever its depth and names. A missing one is no error. */
  async remove(dir: string): Promise<void> {
    await this.#run('remove', ['--dir', dir]);
  }

  async #run(verb: string, args: string[]): Promise<Record<string, unknown>> {
    const child = this.#spawn(verb, args);
    child.stdin.end();
    return this.#finish(child, verb);
  }

  #spawn(verb: string, args: string[]): LayerProcess {
    const child = spawn(this.path, [verb, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: {} });
    // A program that ends early breaks the pipe; its exit tells why.
    child.stdin.on('error', () => {});
    return child;
  }

  async #finish(child: LayerProcess, verb: string): Promise<Record<string, unknown>> {
    const exited = new Promise<string>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(signal ?? String(code)));
    });
    const [stdout, stderr, status] = await Promise.all([collect(child.stdout), collect(child.stderr), exited]);
    const answer = parseAnswer(stdout);
    if (status === '0') return answer;
    const message = typeof answer.message === 'string' ? answer.message : `ended with ${status} ${stderr.trim().slice(0, 500)}`;
    if (answer.error === 'layerRejected' || answer.error === 'tooLarge') throw new ImageError(answer.error, message);
    throw new Error(`berth-layer ${verb}: ${message}`);
  }
}
