import { randomBytes } from 'node:crypto';
import { open, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Puts a small file in the place of another, whole or not at all; on disk, with its name, when it returns. */
export async function writeDurably(dir: string, name: string, text: string): Promise<void> {
  const temporary = join(dir, `.${name}.${randomBytes(6).toString('hex')}`);
  await writeFile(temporary, text, { mode: 0o600, flush: true });
  await rename(temporary, join(dir, name));
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The content of a JSON file; undefined for one that is missing or spoilt. */
export async function readRecord<T>(path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
}
