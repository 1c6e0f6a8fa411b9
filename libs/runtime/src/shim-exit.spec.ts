import { describe, expect, it } from 'vitest';
import { parseShimExit } from './shim-exit.js';

const record = {
  exitCode: 0,
  signal: null,
  oomKilled: false,
  stoppedBy: null,
  startedAt: '2026-01-01T00:00:00.000000001Z',
  finishedAt: '2026-01-01T00:00:01.000000000Z',
  peakMemoryBytes: 4096,
  cpuTimeUs: 1000,
  usage: {
    cpuUserUs: 600,
    cpuSystemUs: 400,
    cpuPeriods: 3,
    cpuThrottledPeriods: 1,
    cpuThrottledUs: 90,
    oomKills: 0,
    readBytes: 4096,
    writtenBytes: null,
    peakPids: 2,
  },
  logBytes: 10,
  logDroppedBytes: 0,
};

describe("a shim's exit record", () => {
  it('is read as it is written', () => {
    expect(parseShimExit(record)).toEqual(record);
    expect(
      parseShimExit({ ...record, exitCode: null, signal: 9, stoppedBy: 'lease', startedAt: null, peakMemoryBytes: null, cpuTimeUs: null }),
    ).toMatchObject({
      signal: 9,
      stoppedBy: 'lease',
    });
  });

  it.each([
    ['exitCode', '0'],
    ['signal', -1],
    ['oomKilled', 1],
    ['stoppedBy', 'somebody'],
    ['startedAt', 'yesterday'],
    ['finishedAt', null],
    ['peakMemoryBytes', 0.5],
    ['cpuTimeUs', undefined],
    ['usage', {}],
    ['usage', 'much'],
    ['logBytes', null],
    ['logDroppedBytes', 2 ** 60],
  ])('is refused with the %s %j', (field, value) => {
    expect(() => parseShimExit({ ...record, [field]: value })).toThrow(field);
  });

  it.each([null, 'text', []])('is not %j', (value) => {
    expect(() => parseShimExit(value)).toThrow(TypeError);
  });
});
