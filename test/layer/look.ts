import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** What stands at a path of a mounted root, in one line: `nothing`, `directory NAMES`, `file CONTENT`, `link TARGET`, `fifo` or `device`; modes with set-id bits behind it. */
export async function look(root: string, path: string): Promise<string> {
  const full = join(root, path);
  const found = await lstat(full).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw error;
  });
  if (found === null) return 'nothing';
  const mode = found.mode & 0o6000 ? ` (${(found.mode & 0o7777).toString(8)})` : '';
  if (found.isDirectory()) return ['directory', ...(await readdir(full)).sort()].join(' ') + mode;
  if (found.isSymbolicLink()) return `link ${await readlink(full)}`;
  if (found.isFIFO()) return `fifo${mode}`;
  return found.isFile() ? `file ${await readFile(full, 'utf8')}${mode}` : 'device';
}
