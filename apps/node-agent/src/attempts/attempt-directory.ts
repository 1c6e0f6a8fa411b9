import { chmod, chown, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ShimDirectory } from '@berth/runtime';
import { assignment as assignmentSchema } from '@berth/wire';
import { z } from 'zod';
import { readIfPresent, syncPath, writeDurable } from '../host/durable-file.js';
import type { AttemptKey, RecordedAssignment } from './attempt-key.js';
import type { Outcome } from './steps.js';

/*
 * What the node keeps of one attempt:
 *
 *   assignment.json   the assignment without its credential, the slot of ids, and the sandbox of the pool that it has; written first
 *   bundle/           config.json and the files that are mounted over the container's /etc
 *   start.json        the same and the boot in which a start was tried; on disk before the shim is
 *   started.json      when the container started
 *   shim/             the shim's own files (docs/contracts.md)
 *   paused            while the agent holds the container where it is
 *   outcome.json      how the attempt ended, when no container ran
 *
 * What a power cut may take is what a reboot makes worthless: before the start nothing has happened that cannot happen again, and no container
 * outlives the boot. So only start.json and outcome.json wait for the disk; the rest has to survive the agent alone.
 */
const recordSchema = z.object({
  assignment: assignmentSchema.omit({ pullAuthorization: true }),
  slot: z.int().min(0),
  sandbox: z.string().optional(),
});
const startSchema = recordSchema.extend({ bootId: z.string() });
const startedSchema = z.object({ startedAt: z.string() });

export interface AttemptRecord {
  readonly assignment: RecordedAssignment;
  /** The slot of ids (`idRangeOfSlot`) that the attempt holds. */
  readonly slot: number;
  /** A sandbox of the pool, whose folder beside this one then has bundle/ and shim/. */
  readonly sandbox?: string | undefined;
}

/** The files of one attempt. Only root may look inside; the container's root may pass through to what is mounted, for runtimes that mount as it does. */
export class AttemptDirectory {
  readonly path: string;
  #sandbox: string;

  constructor(
    private readonly containersDir: string,
    key: AttemptKey,
  ) {
    this.path = join(containersDir, key);
    this.#sandbox = key;
  }

  /** Names the attempt's container, its cgroup and the holder of its slot, and the folder of bundle/ and shim/: the attempt's own, or one of the pool's. */
  get sandbox(): string {
    return this.#sandbox;
  }

  get bundle(): string {
    return join(this.containersDir, this.#sandbox, 'bundle');
  }

  get shim(): ShimDirectory {
    return new ShimDirectory(join(this.containersDir, this.#sandbox, 'shim'));
  }

  /** Makes a sandbox of the pool this attempt's, for good. */
  occupy(sandbox: string): void {
    this.#sandbox = sandbox;
  }

  /** Creates the directory, empty; one that is there already stays as it is. */
  async create(): Promise<void> {
    for (const path of [this.path, this.bundle]) await mkdir(path, { recursive: true, mode: 0o700 });
  }

  /** Lets a group pass through to the bundle's files. */
  async openTo(gid: number): Promise<void> {
    for (const path of [dirname(this.bundle), this.bundle]) {
      await chown(path, 0, gid);
      await chmod(path, 0o710);
    }
  }

  async writeRecord(record: AttemptRecord): Promise<void> {
    // Nothing rests on a record that is half written: the directory is then a leftover.
    await writeFile(join(this.path, 'assignment.json'), JSON.stringify(record), { mode: 0o600 });
  }

  /** Makes an empty folder for the shim, in place of one that a broken-off start has left. */
  async createShim(): Promise<void> {
    await mkdir(this.shim.path, { mode: 0o700 }).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      await rm(this.shim.path, { recursive: true });
      await mkdir(this.shim.path, { mode: 0o700 });
    });
  }

  /** Null when a crash came before the record. Throws when the record is not readable. */
  async record(): Promise<AttemptRecord | null> {
    return (await this.start()) ?? this.read('assignment.json', recordSchema);
  }

  /** Notes durably that a start is tried in this boot. */
  async writeStart(record: AttemptRecord, bootId: string): Promise<void> {
    await this.write('start.json', { ...record, bootId });
    // Together: one commit of the filesystem's journal serves all three.
    await Promise.all([join(this.path, 'start.json'), this.path, join(this.path, '..')].map(syncPath));
  }

  /** The record and the boot in which a start was tried; null when none was. */
  async start(): Promise<(AttemptRecord & { readonly bootId: string }) | null> {
    return this.read('start.json', startSchema);
  }

  async writeStarted(startedAt: string): Promise<void> {
    await this.write('started.json', { startedAt });
  }

  async startedAt(): Promise<string | null> {
    return (await this.read('started.json', startedSchema))?.startedAt ?? null;
  }

  /** Notes that the agent is about to hold the container where it is. */
  async markPaused(): Promise<void> {
    await writeFile(join(this.path, 'paused'), '', { mode: 0o600 });
  }

  async unmarkPaused(): Promise<void> {
    await rm(join(this.path, 'paused'), { force: true });
  }

  async isMarkedPaused(): Promise<boolean> {
    return (await readIfPresent(join(this.path, 'paused'))) !== null;
  }

  async writeOutcome(outcome: Outcome): Promise<void> {
    await writeDurable(join(this.path, 'outcome.json'), JSON.stringify(outcome));
  }

  async outcome(): Promise<Outcome | null> {
    const text = await readIfPresent(join(this.path, 'outcome.json'));
    return text === null ? null : (JSON.parse(text) as Outcome);
  }

  /** Deletes everything; the records go first, so that a crash half-way leaves what recovery removes. */
  async remove(): Promise<void> {
    for (const name of ['start.json', 'assignment.json']) await rm(join(this.path, name), { force: true });
    await rm(dirname(this.bundle), { recursive: true, force: true });
    await rm(this.path, { recursive: true, force: true });
  }

  /** By a rename: whoever reads finds all of it or nothing. */
  private async write(name: string, content: object): Promise<void> {
    const path = join(this.path, name);
    await writeFile(`${path}.new`, JSON.stringify(content), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }

  private async read<T>(name: string, schema: z.ZodType<T>): Promise<T | null> {
    const text = await readIfPresent(join(this.path, name));
    return text === null ? null : schema.parse(JSON.parse(text));
  }
}

/** The keys of all attempts that have a directory, recorded or not. */
export async function listAttemptDirectories(containersDir: string): Promise<readonly AttemptKey[]> {
  const entries = await readdir(containersDir, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
