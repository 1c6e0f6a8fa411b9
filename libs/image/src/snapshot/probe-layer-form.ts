import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { digestOf } from '@berth/core';
import { type LayerForm, LayerProgram } from '../content/layer-program.js';
import { loadImageModules } from './kernel-modules.js';
import type { SnapshotIds, Snapshotter } from './snapshotter.js';

export interface ProbedForm {
  readonly form: LayerForm;
  /** Why it is no better one; null for images. */
  readonly reason: string | null;
}

const key = 'probe-image';

/**
 * What layers are to become on this machine: images where the kernel mounts them (from the file, or through a loop device) and shows their owners through
 * an id map, as every container has it; directories elsewhere. Makes one image in `dir`, mounts it, and leaves nothing.
 */
export async function probeLayerForm(dir: string, berthLayerPath: string, snapshotter: Snapshotter, ids: SnapshotIds): Promise<ProbedForm> {
  const path = join(dir, 'probe.erofs');
  const digest = digestOf(new Uint8Array());
  try {
    await loadImageModules();
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await rm(path, { force: true });
    const blob = { digest, diffId: digest, compression: 'none' } as const;
    await new LayerProgram(berthLayerPath).make('image', path, blob, { layerBytesMax: 0, layerEntriesMax: 0 }, Readable.from([]));
    await snapshotter.prepare(key, [{ diffId: digest, path, form: 'image' }], ids);
    return { form: 'image', reason: null };
  } catch (error) {
    return { form: 'directory', reason: (error as Error).message };
  } finally {
    await snapshotter.remove(key);
    await rm(path, { force: true });
  }
}
