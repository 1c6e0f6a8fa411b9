import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliContainerRuntime } from './cli-container-runtime.js';
import { RuntimeError } from './container-runtime.js';

const native = process.env.BERTH_NATIVE_DIR ?? fileURLToPath(new URL('../../../native/build', import.meta.url));
const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));

function onPath(name: string): string | null {
  const found = (process.env.PATH ?? '').split(':').find((folder) => folder !== '' && existsSync(join(folder, name)));
  return found === undefined ? null : join(found, name);
}

const runtimes = [
  ['berth-runtime', existsSync(join(native, 'berth-runtime')) ? join(native, 'berth-runtime') : null],
  ['runc', onPath('runc')],
] as const;

describe.each(runtimes)('the containers of %s', (name, program) => {
  const missing =
    process.getuid?.() !== 0 ? 'needs root' : busybox === undefined ? 'needs busybox' : program === null ? `needs ${name}` : null;

  describe.skipIf(missing !== null)(missing ?? 'each', () => {
    let directory: string;
    let runtime: CliContainerRuntime;
    const id = `berth-test-${randomBytes(6).toString('hex')}`;

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'berth-runtime-'));
      runtime = new CliContainerRuntime(program ?? '', join(directory, 'state'));
      await mkdir(join(directory, 'bundle/rootfs/bin'), { recursive: true });
      for (const folder of ['proc', 'dev', 'sys']) await mkdir(join(directory, 'bundle/rootfs', folder));
      await copyFile(busybox ?? '', join(directory, 'bundle/rootfs/bin/busybox'));
      await symlink('busybox', join(directory, 'bundle/rootfs/bin/sleep'));
      const config = {
        ociVersion: '1.0.2',
        process: { terminal: false, user: { uid: 0, gid: 0 }, args: ['/bin/sleep', '60'], env: ['PATH=/bin'], cwd: '/' },
        root: { path: 'rootfs' },
        mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
        linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }], cgroupsPath: `/${id}` },
      };
      await writeFile(join(directory, 'bundle/config.json'), JSON.stringify(config));
    });

    afterAll(async () => {
      await runtime.delete(id, { force: true });
      await rm(directory, { recursive: true, force: true });
    });

    const stateOf = async () => (await runtime.state(id))?.state ?? null;
    const becomes = async (state: string) => {
      for (let tries = 0; tries < 100 && (await stateOf()) !== state; tries++) await sleep(20);
      expect(await stateOf()).toBe(state);
    };

    it('are created, started, killed and deleted', async () => {
      expect(await runtime.state(id)).toBeNull();
      expect(await runtime.list()).toEqual([]);
      await runtime.create(id, join(directory, 'bundle'));
      expect(await runtime.state(id)).toMatchObject({ id, state: 'created', bundle: join(directory, 'bundle') });
      expect(await runtime.list()).toEqual([id]);
      await runtime.start(id);
      await becomes('running');
      const { pid } = (await runtime.state(id)) ?? { pid: 0 };
      expect(execFileSync('cat', [`/proc/${pid}/comm`], { encoding: 'utf8' }).trim()).toMatch(/sleep|busybox/);
      await runtime.kill(id, 9);
      await becomes('stopped');
      await runtime.delete(id);
      expect(await runtime.list()).toEqual([]);
    });

    it('are deleted by force while they run, and once more without harm', async () => {
      await runtime.create(id, join(directory, 'bundle'));
      await runtime.start(id);
      await runtime.delete(id, { force: true });
      expect(await runtime.state(id)).toBeNull();
      await runtime.delete(id, { force: true });
    });

    it("are refused with the runtime's own words", async () => {
      await expect(runtime.start('no-such-container')).rejects.toThrow(RuntimeError);
      await expect(runtime.create(id, join(directory, 'no-bundle'))).rejects.toThrow(/no-bundle|config\.json|no such file/i);
    });
  });
});
