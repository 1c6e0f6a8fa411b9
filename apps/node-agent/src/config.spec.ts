import { describe, expect, it } from 'vitest';
import { readConfig } from './config.js';

describe("the agent's environment", () => {
  it('has a default for everything', () => {
    const config = readConfig({ BERTH_HOME: '/srv/berth' });
    expect(config).toMatchObject({ url: 'http://127.0.0.1:7070', directory: '/srv/berth/agent', metricsPort: 7072, stopContainers: false });
    expect(config.runtimeProgram).toBe(`${config.nativeDir}/berth-runtime`);
    expect(config.nativeDir).toMatch(/\/native\/build$/);
  });

  it('has no network for containers until the operator wants one', () => {
    expect(readConfig({}).egress).toBeNull();
    expect(readConfig({ BERTH_EGRESS: '1', BERTH_EGRESS_DNS: '9.9.9.9,2620:fe::fe', BERTH_EGRESS_DENY: '192.0.2.0/24' }).egress).toEqual({
      subnet: '10.213.0.0',
      resolvers: ['9.9.9.9', '2620:fe::fe'],
      allowed: [],
      denied: ['192.0.2.0/24'],
    });
  });

  it('counts an empty variable as none', () => {
    expect(readConfig({ BERTH_NODE_CPU_MILLIS: '', BERTH_JOIN_TOKEN: '' })).toMatchObject({ cpuMillis: undefined, joinToken: undefined });
  });

  it.each([
    { BERTH_URL: 'ftp://x' },
    { BERTH_NODE_CPU_MILLIS: '-5' },
    { BERTH_NODE_MEMORY_BYTES: 'plenty' },
    { BERTH_AGENT_METRICS_PORT: '70000' },
    { BERTH_AGENT_STOP_CONTAINERS: 'yes' },
    { BERTH_EGRESS_SUBNET: '10.0.0.0/8' },
    { BERTH_EGRESS_DNS: '9.9.9.9,resolver' },
    { BERTH_EGRESS_ALLOW: '10.0.0.0/33' },
    { BERTH_RUNTIME_CLASSES: 'docker' },
    { BERTH_IMAGES_HIGH_PERCENT: '101' },
    { BERTH_SNAPSHOTTER: 'zfs' },
    { BERTH_IMAGES_LOW_PERCENT: '86' },
    { BERTH_IMAGES_MAX_BYTES: '0' },
    { BERTH_DISK_LIMIT: 'quota' },
    { BERTH_NODE_DISK_BYTES: '0' },
  ])('%j is refused by name', (env) => {
    expect(() => readConfig(env)).toThrow(Object.keys(env)[0]);
  });
});
