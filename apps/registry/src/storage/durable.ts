import { randomUUID } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/*
 * Writes that a power cut or a kill -9 leaves either whole or absent: the bytes are synced before a rename makes them visible, and the
 * directory is synced before anyone is told (rename(2), fsync(2)).
 */

export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes `directory` and what is missing above it, durably. */
export async function makeDirectory(directory: string): Promise<void> {
  const first = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let path = dirname(directory); path.length >= dirname(first).length; path = dirname(path)) {
    await syncDirectory(path);
    if (path === dirname(path)) break;
  }
}

/** Renames a synced file to `target`, whose directory is made when missing. */
export async function renameDurably(source: string, target: string): Promise<void> {
  await makeDirectory(dirname(target));
  await rename(source, target);
  await syncDirectory(dirname(target));
}

/** Replaces `target` by `bytes`, by way of a file in `scratch`, which is on the same filesystem. */
export async function writeDurably(scratch: string, target: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = join(scratch, randomUUID());
  try {
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await renameDurably(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
