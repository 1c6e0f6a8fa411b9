import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/**
 * Loads what mounting images needs where the kernel does not load it by itself: EROFS, and the loop device that kernels before 6.12 mount files through.
 * What is built in, or not there at all, is no error; mounting tells.
 */
export async function loadImageModules(): Promise<void> {
  for (const module of ['erofs', 'loop']) await promisify(execFile)('modprobe', ['-q', module]).catch(() => {});
}
