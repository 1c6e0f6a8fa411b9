import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodeRuntime } from './node-runtimes.js';

/**
 * Whether a runtime still knows a container. Berth's own lists the folders under its root (docs/runtime.md), so a container without a folder needs no
 * process to be started that reads all the others; whatever else there is, the runtime says.
 */
export async function hasContainer({ runtimeClass, root, containers }: NodeRuntime, id: string): Promise<boolean> {
  if (runtimeClass === 'berth' && (await isAbsent(join(root, id)))) return false;
  return (await containers.list()).includes(id);
}

async function isAbsent(path: string): Promise<boolean> {
  return access(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}
