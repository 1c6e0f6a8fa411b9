import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from './failures.js';
import { formatDuration, formatSize, parseCpus, parseDuration, parsePair, parseSize, parseWhole } from './units.js';

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['1024', 1024],
    ['10b', 10],
    ['256m', 256 * 1024 ** 2],
    ['256M', 256 * 1024 ** 2],
    ['256Mi', 256 * 1024 ** 2],
    ['256MiB', 256 * 1024 ** 2],
    ['1.5g', 1.5 * 1024 ** 3],
    ['512kb', 512 * 1024],
  ])('%s is %i bytes', (text, bytes) => {
    expect(parseSize(text, '--memory')).toBe(bytes);
  });

  it.each(['', 'm', '-1m', '1x', '1 m', '1,5g', '1e3', 'i', '5i', '9999999999t', '0x10'])('refuses %j and names the flag', (text) => {
    expect(() => parseSize(text, '--memory')).toThrow(/^--memory/);
  });

  it('read back as they are printed, within the rounding', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 46 }), (bytes) => {
        const back = parseSize(formatSize(bytes).replace(' ', ''), '--memory');
        expect(Math.abs(back - bytes)).toBeLessThanOrEqual(Math.max(0.5, bytes * 0.051));
      }),
    );
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1024 ** 2 - 1, '1 MiB'],
    [1.5 * 1024 ** 3, '1.5 GiB'],
  ])('%i prints as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});

describe('cpus', () => {
  it.each([
    ['0.5', 500],
    ['.25', 250],
    ['2', 2000],
    ['1.', 1000],
    ['0.001', 1],
  ])('%s is %i thousandths', (text, millis) => {
    expect(parseCpus(text, '--cpus')).toBe(millis);
  });

  it.each(['', '-1', '0.0001', '1e3', 'x', '.', '0,5'])('refuses %j', (text) => {
    expect(() => parseCpus(text, '--cpus')).toThrow(UsageError);
  });
});

describe('durations', () => {
  it.each([
    ['30s', 30_000],
    ['30', 30_000],
    ['0.5', 500],
    ['500ms', 500],
    ['1m30s', 90_000],
    ['1.5h', 5_400_000],
    ['1d2h', 93_600_000],
  ])('%s is %i ms', (text, ms) => {
    expect(parseDuration(text, '--timeout')).toBe(ms);
  });

  it.each(['', 's', '-1s', '1x', '1s 2s', 'm30', '99999999999999999d'])('refuses %j', (text) => {
    expect(() => parseDuration(text, '--timeout')).toThrow(/^--timeout/);
  });

  it.each([
    [0, '0ms'],
    [350, '350ms'],
    [42_000, '42s'],
    [61_000, '1m 1s'],
    [3_600_000, '1h'],
    [90_061_000, '1d 1h'],
    [-5, '0ms'],
  ])('%i ms print as %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});

describe('numbers and pairs', () => {
  it('are read or refused', () => {
    expect(parseWhole('12', '--priority')).toBe(12);
    for (const text of ['', '-1', '1.0', '1e3', 'x']) expect(() => parseWhole(text, '--priority')).toThrow(/^--priority/);
    expect(parsePair('a=b=c', '--label')).toEqual(['a', 'b=c']);
    expect(parsePair('a=', '--label')).toEqual(['a', '']);
    for (const text of ['', 'a', '=b']) expect(() => parsePair(text, '--label')).toThrow(/^--label/);
  });
});
