import { readdir, readFile } from 'node:fs/promises';
import { sep } from 'node:path';

/** The shims, and what starts them, that work for directories below `containersDir`: each such directory with its processes. */
export async function findShims(containersDir: string): Promise<ReadonlyMap<string, readonly number[]>> {
  const found = new Map<string, number[]>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const directory = shimDirectoryOf(await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => ''), containersDir);
    if (directory !== null) found.set(directory, [...(found.get(directory) ?? []), Number(name)]);
  }
  return found;
}

/** The value of `--dir` in a command line of /proc, when it is below `containersDir`. */
export function shimDirectoryOf(cmdline: string, containersDir: string): string | null {
  const [program, ...args] = cmdline.split('\0');
  if (!program?.endsWith('berth-shim')) return null;
  const directory = args[args.indexOf('--dir') + 1];
  return args.includes('--dir') && directory?.startsWith(`${containersDir}${sep}`) ? directory : null;
}
