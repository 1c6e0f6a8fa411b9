import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OverlaySnapshotter } from '@berth/image';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nativeDirectory } from '../testing/agent-process.js';
import { missingForContainers } from '../testing/test-node.js';
import { probeSnapshots } from './probe-snapshots.js';

const missing = missingForContainers();

describe.skipIf(missing !== null)(`the probe of snapshots${missing === null ? '' : ` (${missing})`}`, () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-probe-'));
    for (const part of ['lower', 'upper', 'work', 'merged']) await mkdir(join(directory, part));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const probe = (home: string) =>
    probeSnapshots(new OverlaySnapshotter(join(home, 'snapshots'), join(nativeDirectory(), 'berth-layer')), home);
  const mountsOf = () =>
    execFileSync('cat', ['/proc/self/mountinfo'], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes(directory));

  it('passes where containers can be, and leaves nothing', async () => {
    await probe(directory);
    expect(mountsOf()).toEqual([]);
  });

  it('names what is wrong with an overlay and where to go instead', async () => {
    const parts = ['lower', 'upper', 'work'].map((part) => `${part}dir=${join(directory, part)}`).join();
    const merged = join(directory, 'merged');
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', parts, merged]);
    try {
      await expect(probe(merged)).rejects.toThrow(
        `${merged} is on overlayfs, which cannot hold containers: set BERTH_HOME to a folder on ext4`,
      );
      expect(mountsOf()).toHaveLength(1);
    } finally {
      execFileSync('umount', [merged]);
    }
  });
});
