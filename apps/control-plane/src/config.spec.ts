import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readConfig } from './config.js';

const least = { BERTH_DATABASE_URL: 'postgres://localhost/berth', BERTH_REGISTRY_SECRET: 'ab'.repeat(32) };

describe('the configuration', () => {
  it('needs a database and a secret, and says so', () => {
    expect(() => readConfig({})).toThrow(/BERTH_DATABASE_URL.*BERTH_REGISTRY_SECRET/);
    expect(readConfig(least).listen).toEqual({ host: '127.0.0.1', port: 7070, tls: null });
  });

  it.each(['0.0.0.0', '::', '192.168.1.5', 'example.com', '127.0.0.1.example.com', ''])(
    'listens on %j only when told that it is safe',
    (host) => {
      if (host === '') expect(readConfig({ ...least, BERTH_HOST: host }).listen.host).toBe('127.0.0.1');
      else expect(() => readConfig({ ...least, BERTH_HOST: host })).toThrow('not loopback');
      expect(readConfig({ ...least, BERTH_HOST: host, BERTH_INSECURE_LISTEN: '1' }).listen.port).toBe(7070);
    },
  );

  it('holds the admin port to the same rule', () => {
    expect(() => readConfig({ ...least, BERTH_ADMIN_HOST: '0.0.0.0' })).toThrow('BERTH_ADMIN_HOST');
  });

  it('wants both files of TLS or none', () => {
    expect(() => readConfig({ ...least, BERTH_TLS_CERT_FILE: '/x' })).toThrow('together');
  });

  it('keeps T_lost above T_stop above the heartbeat', () => {
    expect(() => readConfig({ ...least, BERTH_STOP_AFTER_MS: '80000' })).toThrow('BERTH_LOST_AFTER_MS');
    expect(() => readConfig({ ...least, BERTH_HEARTBEAT_MS: '30000' })).toThrow('heartbeats');
  });

  it('turns the queue and the sweeper off by word', () => {
    expect(readConfig({ ...least, BERTH_QUEUE: 'off', BERTH_SWEEPER: '0' })).toMatchObject({ queue: false, sweeper: false });
    expect(() => readConfig({ ...least, BERTH_QUEUE: 'maybe' })).toThrow('BERTH_QUEUE');
  });

  it('is documented variable by variable', () => {
    const source = readFileSync(new URL('../src/config.ts', import.meta.url), 'utf8');
    const contracts = readFileSync(new URL('../../../docs/contracts.md', import.meta.url), 'utf8');
    for (const [, name] of source.matchAll(/^ {2}(BERTH_\w+):/gm)) expect(contracts).toContain(`\`${name}\``);
  });
});
