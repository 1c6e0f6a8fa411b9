import { runSpec } from '@berth/wire';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../config.js';
import { bodyHash } from './body-hash.js';
import { completeSpec } from './complete-spec.js';

const config = readConfig({ BERTH_DATABASE_URL: 'postgres://x', BERTH_REGISTRY_SECRET: 'ab'.repeat(32), BERTH_DEFAULT_PIDS: '99' });

describe('a spec', () => {
  it('has every default of the operator, and is whole', () => {
    const spec = completeSpec({ image: 'a', resources: { cpuMillis: 250 } }, config);
    expect(runSpec.parse(spec)).toEqual(spec);
    expect(spec.resources).toEqual({
      cpuMillis: 250,
      memoryBytes: 256 * 1024 ** 2,
      pids: 99,
      shmBytes: 64 * 1024 ** 2,
      logBytes: 256 * 1024 ** 2,
    });
    expect(spec).toMatchObject({
      timeoutMs: 3_600_000,
      stopGraceMs: 10_000,
      maxAttempts: 1,
      onQuota: 'queue',
      onNodeLost: 'wait',
      priority: 50,
    });
  });

  it('is retried after a lost node where attempts are left, unless it says otherwise', () => {
    expect(completeSpec({ image: 'a', maxAttempts: 2 }, config).onNodeLost).toBe('retry');
    expect(completeSpec({ image: 'a', maxAttempts: 2, onNodeLost: 'wait' }, config).onNodeLost).toBe('wait');
  });

  it("has the tenant's defaults before the operator's, and nothing beyond its maxima", () => {
    const limits = { defaults: { pids: 7, timeoutMs: 5000, diskBytes: 1024 ** 2 }, maxima: { memoryBytes: 2 ** 28, timeoutMs: 60_000 } };
    const spec = completeSpec({ image: 'a', resources: { cpuMillis: 10 } }, config, limits);
    expect(spec).toMatchObject({ timeoutMs: 5000, resources: { pids: 7, cpuMillis: 10, diskBytes: 1024 ** 2 } });
    expect(() => completeSpec({ image: 'a', timeoutMs: 60_001 }, config, limits)).toThrow('timeoutMs: 60001 requested');
    const beyond = { image: 'a', resources: { memoryBytes: 2 ** 28 + 1 } };
    expect(() => completeSpec(beyond, config, limits)).toThrow(expect.objectContaining({ code: 'quotaNeverFits' }));
  });

  it('never has more shared memory by default than memory', () => {
    const memoryBytes = 8 * 1024 ** 2;
    expect(completeSpec({ image: 'a', resources: { memoryBytes } }, config).resources.shmBytes).toBe(memoryBytes);
  });

  it('cannot have a grace in which a lost container might meet its replacement', () => {
    expect(() => completeSpec({ image: 'a', maxAttempts: 2, stopGraceMs: 25_001 }, config)).toThrow('at most 25000');
    expect(completeSpec({ image: 'a', maxAttempts: 2, stopGraceMs: 25_000 }, config).stopGraceMs).toBe(25_000);
    expect(completeSpec({ image: 'a', maxAttempts: 2, stopGraceMs: 600_000, onNodeLost: 'wait' }, config).stopGraceMs).toBe(600_000);
  });
});

describe('the hash of a body', () => {
  it('does not depend on the order of members, but on that of elements', () => {
    expect(bodyHash({ a: 1, b: { c: [1, 2], d: null } })).toBe(bodyHash({ b: { d: null, c: [1, 2] }, a: 1 }));
    expect(bodyHash({ a: [1, 2] })).not.toBe(bodyHash({ a: [2, 1] }));
    expect(bodyHash({ a: 1 })).not.toBe(bodyHash({ a: '1' }));
  });
});
