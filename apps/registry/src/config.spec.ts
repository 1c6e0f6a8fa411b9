import { describe, expect, it } from 'vitest';
import { configFrom } from './config.js';

const least = { BERTH_DATABASE_URL: 'postgres://localhost/berth', BERTH_REGISTRY_SECRET: 'ab'.repeat(32) };

describe('the configuration', () => {
  it('needs a database and a secret, and has a default for the rest', () => {
    const config = configFrom({ ...least, BERTH_HOME: '/data' });
    expect(config).toMatchObject({ host: '127.0.0.1', port: 7073, adminPort: 7074, directory: '/data/registry' });
    expect(config.tokenSecret).toHaveLength(32);
  });

  it.each([
    [{ BERTH_DATABASE_URL: '' }, 'BERTH_DATABASE_URL'],
    [{ BERTH_REGISTRY_SECRET: 'ab'.repeat(31) }, 'BERTH_REGISTRY_SECRET'],
    [{ BERTH_REGISTRY_SECRET: 'zz'.repeat(32) }, 'BERTH_REGISTRY_SECRET'],
    [{ BERTH_REGISTRY_PORT: '70000' }, 'BERTH_REGISTRY_PORT'],
    [{ BERTH_REGISTRY_PORT: '1e3' }, 'BERTH_REGISTRY_PORT'],
    [{ BERTH_REGISTRY_KEY_CACHE_MS: '5001' }, 'BERTH_REGISTRY_KEY_CACHE_MS'],
    [{ BERTH_REGISTRY_HOST: '0.0.0.0' }, 'BERTH_INSECURE_LISTEN'],
    [{ BERTH_ADMIN_HOST: '::' }, 'BERTH_INSECURE_LISTEN'],
    [{ BERTH_TLS_CERT_FILE: '/cert.pem' }, 'BERTH_TLS_KEY_FILE'],
    [{ BERTH_REGISTRY_HOST: '127.0.0.1.example.org' }, 'BERTH_INSECURE_LISTEN'],
  ])('refuses %j and names the variable', (change, name) => {
    expect(() => configFrom({ ...least, ...change })).toThrow(name);
  });

  it('listens elsewhere than on loopback only when told that plain text is meant', () => {
    expect(configFrom({ ...least, BERTH_REGISTRY_HOST: '0.0.0.0', BERTH_INSECURE_LISTEN: '1' }).host).toBe('0.0.0.0');
  });
});
