import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually } from '@berth/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { countInodes, type Inventory, leftovers, openDescriptors, settledLeftovers, takeInventory } from '#scripts/machine-inventory.mjs';

describe.skipIf(process.getuid?.() !== 0)('what is left behind is seen (as root)', () => {
  let folder: string;
  let before: Inventory;
  const undo: (() => void)[] = [];
  const mine = (text: string) => text.includes(folder);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'berth-inventory-'));
    before = takeInventory();
  });
  afterEach(async () => {
    for (const one of undo.splice(0).reverse()) one();
    expect(await settledLeftovers(before, mine)).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  const background = (command: string, args: string[], env = {}): ChildProcess => {
    const child = spawn(command, args, { stdio: 'ignore', env: { ...process.env, ...env } });
    undo.push(() => child.kill('SIGKILL'));
    return child;
  };

  it('a process, by its command line or by the home it was given', async () => {
    background('sleep', ['600'], { BERTH_HOME: folder });
    background('tail', ['-f', join(folder, 'none')]);
    background('sh', ['-c', `sleep 601 # ${folder}`]);
    await eventually(() =>
      expect(leftovers(before, takeInventory(), mine).filter((line) => line.startsWith('processes: '))).toHaveLength(2),
    );
  });

  it('a mount', () => {
    execFileSync('mount', ['-t', 'tmpfs', 'none', folder]);
    undo.push(() => execFileSync('umount', [folder]));
    expect(leftovers(before, takeInventory(), mine)).toEqual([`mounts: ${folder} (tmpfs)`]);
  });

  it('a cgroup', () => {
    const cgroups = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => / - cgroup2? /.test(line));
    const path = join(cgroups[0]!.split(' ')[4]!, `berth-inventory-${process.pid}`);
    mkdirSync(path);
    undo.push(() => rmdirSync(path));
    expect(leftovers(before, takeInventory(), (text) => text.includes(`berth-inventory-${process.pid}`))).toEqual([`cgroups: ${path}`]);
  });

  it('a network namespace that only a bind mount keeps', () => {
    const file = join(folder, 'net');
    writeFileSync(file, '');
    execFileSync('unshare', [`--net=${file}`, 'true']);
    undo.push(() => execFileSync('umount', [file]));
    const found = leftovers(before, takeInventory(), mine);
    expect(
      found.some((line) => /^network namespaces: net:\[\d+\] kept by /.test(line)),
      found.join('\n'),
    ).toBe(true);
  });

  it('a loop device, where the machine has loop devices', (context) => {
    const file = join(folder, 'disk');
    writeFileSync(file, Buffer.alloc(1 << 20));
    try {
      const device = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
      undo.push(() => execFileSync('losetup', ['--detach', device]));
    } catch {
      return context.skip('losetup finds no free loop device on this machine');
    }
    expect(leftovers(before, takeInventory(), mine)).toEqual([expect.stringMatching(/^loop devices: /)]);
  });

  it('files and descriptors, counted', () => {
    const count = countInodes(folder);
    writeFileSync(join(folder, 'one'), '');
    expect(countInodes(folder)).toBe(count + 1);
    expect(openDescriptors(process.pid)).toBeGreaterThan(3);
  });
});
