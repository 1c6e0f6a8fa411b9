import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Something that runs a container of `true`, from its start to its known exit. */
export interface Peer {
  readonly name: string;
  readonly once: () => Promise<void>;
  /** Takes away what it keeps beside the benchmark's folder. */
  readonly close?: () => void;
}

export interface PeerImage {
  /** As a registry on loopback without TLS serves it. */
  readonly name: string;
  /** The password that pulls it; any user has it. */
  readonly key: string;
}

/** Why a peer is left out. */
export interface Skipped {
  readonly subject: string;
  readonly skipped: string;
}

// Limits below the host's: raising them, as podman would, needs a capability that not every machine's root has.
const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024', '--memory', '32m'];
const runFlags = ['run', '--rm', '--network', 'none', '--log-driver', 'none', ...limits];

/** Podman with a store of its own below `home`. */
export function podman({ name, key }: PeerImage, home: string): Peer | Skipped {
  const runtime = process.env.PODMAN_RUNTIME ?? 'runc';
  const common = ['--root', join(home, 'store'), '--runroot', join(home, 'run'), '--runtime', runtime, '--cgroup-manager', 'cgroupfs'];
  const pull = [...common, 'pull', '--quiet', '--tls-verify=false', '--creds', `bench:${key}`, name];
  return opened('podman', [pull], [...common, ...runFlags, name], process.env, () => {
    // Podman binds its store upon itself and leaves it so.
    spawnSync('umount', ['--lazy', join(home, 'store/overlay')], { stdio: 'ignore' });
  });
}

/** The docker daemon that docker(1) finds, which takes registries on loopback without TLS by itself. */
export function docker({ name, key }: PeerImage, home: string): Peer | Skipped {
  const folder = join(home, 'docker');
  mkdirSync(folder);
  const auths = { [name.slice(0, name.indexOf('/'))]: { auth: Buffer.from(`bench:${key}`).toString('base64') } };
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ auths }), { mode: 0o600 });
  const env = { ...process.env, DOCKER_CONFIG: folder };
  return opened('docker', [['pull', '--quiet', name]], [...runFlags, name], env, () => {
    spawnSync('docker', ['image', 'rm', '--force', name], { env, stdio: 'ignore' });
  });
}

/** A peer that has run once, or why it could not. */
function opened(program: string, before: readonly string[][], run: string[], env: NodeJS.ProcessEnv, close: () => void): Peer | Skipped {
  try {
    for (const args of [...before, run]) execFileSync(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    close();
    const lines = String((error as Error).message)
      .trim()
      .split('\n');
    return { subject: program, skipped: lines.at(-1) ?? '' };
  }
  return { name: program, once: async () => void (await promisify(execFile)(program, run, { env })), close };
}
