import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ShimDirectory } from '@berth/runtime';
import { assignment as assignmentSchema } from '@berth/wire';
import { z } from 'zod';
import { readIfPresent, syncDirectory, writeDurable } from '../host/durable-file.js';
import type { AttemptKey, RecordedAssignment } from './attempt-key.js';
import type { Outcome } from './steps.js';

/*
 * What the node keeps of one attempt:
 *
 *   assignment.json   the assignment without its credential, and the slot of ids; written first
 *   bundle/           config.json and the files that are mounted over the container's /etc
 *   start.json        the boot in which a start was tried; written before the shim is
 *   started.json      when the container started
 *   shim/             the shim's own files (docs/contracts.md)
 *   outcome.json      how the attempt ended, when no container ran
 */
const recordSchema = z.object({ assignment: assignmentSchema.omit({ pullAuthorization: true }), slot: z.int().min(0) });
const startSchema = z.object({ bootId: z.string() });
const startedSchema = z.object({ startedAt: z.string() });

export interface AttemptRecord {
  readonly assignment: RecordedAssignment;
  /** The slot of ids (`idRangeOfSlot`) that the attempt holds. */
  readonly slot: number;
}

/** The files of one attempt. Only root may look inside; a container's ids may pass through to what is mounted from here. */
export class AttemptDirectory {
  readonly path: string;
  readonly bundle: string;
  readonly shim: ShimDirectory;

  constructor(containersDir: string, key: AttemptKey) {
    this.path = join(containersDir, key);
    this.bundle = join(this.path, 'bundle');
    this.shim = new ShimDirectory(join(this.path, 'shim'));
  }

  /** Creates the directory with its record, durably. Writing the same record again is no error. */
  async create(record: AttemptRecord): Promise<void> {
    // Mode 0711: the runtime reaches the bundle as the container's root, who is nobody here.
    await mkdir(this.bundle, { recursive: true, mode: 0o711 });
    await mkdir(this.shim.path, { recursive: true, mode: 0o700 });
    await writeDurable(join(this.path, 'assignment.json'), JSON.stringify(record));
    await syncDirectory(join(this.path, '..'));
  }

  /** Null when a crash came before the record. Throws when the record is not readable. */
  async record(): Promise<AttemptRecord | null> {
    return this.read('assignment.json', recordSchema);
  }

  async writeStart(bootId: string): Promise<void> {
    await writeDurable(join(this.path, 'start.json'), JSON.stringify({ bootId }));
  }

  /** The boot in which a start was tried; null when none was. */
  async start(): Promise<{ readonly bootId: string } | null> {
    return this.read('start.json', startSchema);
  }

  async writeStarted(startedAt: string): Promise<void> {
    await writeDurable(join(this.path, 'started.json'), JSON.stringify({ startedAt }));
  }

  async startedAt(): Promise<string | null> {
    return (await this.read('started.json', startedSchema))?.startedAt ?? null;
  }

  async writeOutcome(outcome: Outcome): Promise<void> {
    await writeDurable(join(this.path, 'outcome.json'), JSON.stringify(outcome));
  }

  async outcome(): Promise<Outcome | null> {
    const text = await readIfPresent(join(this.path, 'outcome.json'));
    return text === null ? null : (JSON.parse(text) as Outcome);
  }

  /** Deletes everything; the record goes first, so that a crash half-way leaves what recovery removes. */
  async remove(): Promise<void> {
    await rm(join(this.path, 'assignment.json'), { force: true });
    await rm(this.path, { recursive: true, force: true });
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
