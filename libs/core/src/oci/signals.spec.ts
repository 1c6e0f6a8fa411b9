import { describe, expect, it } from 'vitest';
import { parseSignal } from './signals.js';

describe('the signals of images', () => {
  it.each([
    ['SIGTERM', 15],
    ['TERM', 15],
    ['term', 15],
    ['15', 15],
    ['SIGRTMIN', 34],
    ['SIGRTMIN+3', 37],
    ['RTMAX-1', 63],
    ['SIGKILL', 9],
  ])('%j is %i', (text, number) => {
    expect(parseSignal(text)).toBe(number);
  });

  it.each(['', '0', '65', '-9', '9 ', 'SIG', 'SIGSIGTERM', 'SIGRTMAX+1', 'SIGRTMIN-1', 'constructor', '1e1', '00015'])(
    '%j is none',
    (text) => {
      expect(parseSignal(text)).toBeNull();
    },
  );
});
