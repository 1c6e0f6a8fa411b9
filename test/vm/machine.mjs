import { spawn } from 'node:child_process';
import { findProgram } from './programs.mjs';
import { Unavailable } from './unavailable.mjs';

const tailBytes = 8192;

/** @returns {string} path of the emulator */
export function findEmulator() {
  const path = findProgram('qemu-system-x86_64');
  if (!path) throw new Unavailable('qemu-system-x86_64 is not installed (Debian package qemu-system-x86)');
  return path;
}

/**
 * Boots a machine without acceleration, network or access to the host, and waits for its end.
 * @param {{ kernel: string, archive: string, disks: string[], report: string, limitMs: number, onOutput: (text: string) => void }} machine
 *   `disks` are read; what the guest writes to them is thrown away. `report` is written.
 * @returns {Promise<{ timedOut: boolean, exitCode: number | null, tail: string }>} `tail`: the end of what the console showed
 */
export function boot({ kernel, archive, disks, report, limitMs, onOutput }) {
  const drive = (file, extra = '') => ['-drive', `file=${file},if=virtio,format=raw${extra}`];
  const argv = [
    ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '2G', '-display', 'none', '-monitor', 'none', '-serial', 'stdio'],
    ...['-nic', 'none', '-no-reboot', '-no-user-config', '-kernel', kernel, '-initrd', archive],
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off'],
    ...disks.flatMap((disk) => drive(disk, ',snapshot=on')),
    ...drive(report, ',cache=unsafe'),
  ];
  return new Promise((resolve, reject) => {
    const child = spawn(findEmulator(), argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    let tail = '';
    let timedOut = false;
    const kill = () => child.kill('SIGKILL');
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, limitMs);
    process.once('exit', kill);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        const clean = text.replaceAll('\r', '');
        tail = (tail + clean).slice(-tailBytes);
        onOutput(clean);
      });
    }
    child.on('error', reject);
    child.on('close', (exitCode) => {
      clearTimeout(timer);
      process.off('exit', kill);
      resolve({ timedOut, exitCode, tail });
    });
  });
}
