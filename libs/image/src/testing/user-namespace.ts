import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { SnapshotIds } from '../snapshot/snapshotter.js';

const run = promisify(execFile);

/**
 * Runs a shell script in `cwd` as root of a real user namespace with the given range, as a container's root would. Returns what it
 * printed; rejects when it fails. Needs root, and util-linux.
 */
export async function inUserNamespace(cwd: string, { uidBase, uidCount }: SnapshotIds, script: string): Promise<string> {
  const holder = spawn('unshare', ['--user', 'sh', '-c', 'echo ready; read end'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = once(holder, 'exit');
  try {
    await once(holder.stdout, 'data');
    for (const map of ['uid_map', 'gid_map']) await writeFile(`/proc/${holder.pid}/${map}`, `0 ${uidBase} ${uidCount}\n`);
    const args = [`--user=/proc/${holder.pid}/ns/user`, '--setuid', '0', '--setgid', '0', 'sh', '-euc', script];
    return (await run('nsenter', args, { cwd })).stdout;
  } finally {
    holder.stdin.end('\n');
    await gone;
  }
}
