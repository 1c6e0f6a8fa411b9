import { spawn } from 'node:child_process';
import { readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asHostRoot, eventually, HOST_BASE, reportOf, TestBundle } from './bundle.js';
import { mountsOf, namesIn } from './views.js';

let bundle: TestBundle;
beforeEach(() => {
  bundle = new TestBundle();
});
afterEach(() => {
  bundle.dispose();
});

describe('namespaces', () => {
  it('are all new', () => {
    const { ns } = reportOf(bundle.run(['report']));
    for (const name of ['pid', 'net', 'ipc', 'uts', 'mnt', 'user', 'cgroup']) {
      expect(ns[name], name).toMatch(/^\w+:\[\d+\]$/);
      expect(ns[name], name).not.toBe(readlinkSync(`/proc/self/ns/${name}`));
    }
  });

  it('stay the host’s where the config names none', () => {
    const { ns } = reportOf(
      bundle.run(['report'], (config) => {
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== 'ipc' && type !== 'network');
        config.mounts = config.mounts.filter(({ type }) => type !== 'mqueue' && type !== 'sysfs' && type !== 'cgroup');
      }),
    );
    expect(ns.ipc).toBe(readlinkSync('/proc/self/ns/ipc'));
    expect(ns.net).toBe(readlinkSync('/proc/self/ns/net'));
    expect(ns.uts).not.toBe(readlinkSync('/proc/self/ns/uts'));
  });

  it('are joined by path, a container’s network, ipc, uts and user namespaces among them', () => {
    const other = new TestBundle();
    try {
      other.create(['wait']);
      other.runtime(['start', other.id]);
      const joined = ['network', 'ipc', 'uts', 'user', 'pid'] as const;
      const files = { network: 'net', ipc: 'ipc', uts: 'uts', user: 'user', pid: 'pid' };
      const outcome = bundle.run(['report'], (config) => {
        delete config.hostname;
        config.linux.namespaces = [
          ...joined.map((type) => ({ type, path: `/proc/${other.pid()}/ns/${files[type]}` })),
          { type: 'mount' },
          { type: 'cgroup' },
        ];
      });
      const report = reportOf(outcome);
      for (const type of joined) expect(report.ns[files[type]], type).toBe(readlinkSync(`/proc/${other.pid()}/ns/${files[type]}`));
      expect(report.pid).toBeGreaterThan(1);
      expect(report.hostname).toBe('box');
      expect(report.uid).toBe(0);
      expect(outcome.status).toBe(0);
    } finally {
      other.dispose();
    }
    expect(bundle.leftovers()).toEqual([]);
  });

  it('of mounts are joined too, and the container sees nothing of what was in it', async () => {
    const holder = spawn('unshare', ['-m', 'sleep', '60'], { stdio: 'ignore' });
    try {
      const path = `/proc/${holder.pid}/ns/mnt`;
      const own = readlinkSync('/proc/self/ns/mnt');
      await eventually(() => readlinkSync(path) !== own, 'the namespace is there');
      const joined = readlinkSync(path);
      const source = bundle.makeDir('source');
      writeFileSync(join(source, 'file'), '');
      const outcome = bundle.run(['report', 'ls', '/m', 'ls', '/'], (config) => {
        asHostRoot(config);
        config.mounts.push({ destination: '/m', type: 'bind', source, options: ['bind'] });
        config.linux.namespaces = config.linux.namespaces.map((each) => (each.type === 'mount' ? { ...each, path } : each));
      });
      expect(outcome.stderr).toBe('');
      const { ns, mountinfo } = reportOf(outcome);
      expect(ns.mnt).toBe(joined);
      expect(namesIn(outcome, 1)).toEqual(['file']);
      expect(namesIn(outcome, 2)).not.toContain('etc');
      expect([...mountsOf(mountinfo).keys()].filter((place) => place === '/')).toEqual(['/']);
      expect(mountinfo).not.toContain(bundle.stateRoot);
    } finally {
      holder.kill('SIGKILL');
    }
    const host = bundle.run(['report'], (config) => {
      asHostRoot(config);
      config.linux.namespaces = config.linux.namespaces.map((each) =>
        each.type === 'mount' ? { ...each, path: `/proc/${process.pid}/ns/mnt` } : each,
      );
    });
    expect(host.stderr).toContain('is the mount namespace that the runtime is in');
    expect(bundle.leftovers()).toEqual([]);
  });

  it('refuse a path that leads to another kind of namespace', () => {
    const outcome = bundle.run(['report'], (config) => {
      config.linux.namespaces = [{ type: 'network', path: '/proc/self/ns/uts' }, { type: 'mount' }];
      delete config.hostname;
      asHostRoot(config);
    });
    expect(outcome.stderr).toContain('/proc/self/ns/uts is no network namespace');
  });

  it('map ids as the config says', () => {
    const outcome = bundle.run(['report', 'setuid', '65535', 'setuid', '0']);
    expect(reportOf(outcome).uid_map.trim().split(/\s+/)).toEqual(['0', `${HOST_BASE}`, '65536']);
    expect(outcome.lines[1]?.ok).toBe(true);
  });

  it('give the host name and domain name', () => {
    const report = reportOf(
      bundle.run(['report'], (config) => {
        config.hostname = 'inside';
        config.domainname = 'berth.test';
      }),
    );
    expect(report).toMatchObject({ hostname: 'inside', domainname: 'berth.test' });
  });

  it('bring a loopback interface that is up, and no other', () => {
    const outcome = bundle.run(['read', '/proc/net/dev', 'read', '/proc/net/route', 'read', '/proc/net/fib_trie']);
    expect(String(outcome.lines[0]?.text).match(/^\s*\w+:/gm)).toEqual(['    lo:']);
    expect(outcome.lines[2]?.text).toContain('127.0.0.1');
  });

  it('hide other processes, and the path of the cgroup', () => {
    const outcome = bundle.run(['report', 'ls', '/proc']);
    const names = outcome.lines[1]?.names as string[];
    expect(names.filter((name) => /^\d+$/.test(name))).toEqual(['1']);
    for (const line of reportOf(outcome).cgroup.trim().split('\n')) {
      // The systemd hierarchy holds no controller, and no directory of ours.
      if (!line.includes('name=')) expect(line).toMatch(/:\/$/);
    }
  });
});
