import { constants, type FileHandle, lstat, open, readlink } from 'node:fs/promises';
import { join } from 'node:path';

const maxLinks = 40;

/** A file of an image is not what it should be. The message may be shown to the tenant. */
export class RootedFileRefused extends Error {
  override readonly name = 'RootedFileRefused';
}

/**
 * Reads a file of a container's root filesystem as the container would find it: symbolic links lead back into `root`, never out of it. Null when
 * there is none. Only for a root in which nothing runs yet: each component is looked at before it is used. Throws RootedFileRefused for
 * anything but a regular file of at most `maxBytes`, and for a maze of links.
 */
export async function readInRoot(root: string, path: string, maxBytes: number): Promise<string | null> {
  const found = await resolveInRoot(root, path);
  if (found === null) return null;
  let file: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for its writer.
    file = await open(found, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isAbsent(error)) return null;
    throw new RootedFileRefused(`the image's ${path} cannot be read`, { cause: error });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new RootedFileRefused(`the image's ${path} is not a regular file`);
    const buffer = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (let got = 1; got > 0 && length <= maxBytes; length += got)
      got = (await file.read(buffer, length, maxBytes + 1 - length)).bytesRead;
    if (length > maxBytes) throw new RootedFileRefused(`the image's ${path} is larger than ${maxBytes} bytes`);
    return buffer.toString('utf8', 0, length);
  } finally {
    await file.close();
  }
}

/** The path on the host of what `path` names inside `root`, with every link resolved inside; null when it does not exist. */
async function resolveInRoot(root: string, path: string): Promise<string | null> {
  const done: string[] = [];
  const todo = path.split('/').reverse();
  for (let links = 0; todo.length > 0; ) {
    const part = todo.pop() ?? '';
    if (part === '' || part === '.') continue;
    if (part === '..') {
      done.pop();
      continue;
    }
    const here = join(root, ...done, part);
    try {
      if (!(await lstat(here)).isSymbolicLink()) {
        done.push(part);
        continue;
      }
    } catch (error) {
      if (isAbsent(error)) return null;
      throw error;
    }
    if (++links > maxLinks) throw new RootedFileRefused(`the image's ${path} is a maze of links`);
    const target = await readlink(here);
    if (target.startsWith('/')) done.length = 0;
    todo.push(...target.split('/').reverse());
  }
  return join(root, ...done);
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
