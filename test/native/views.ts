import type { Outcome } from './bundle.js';

/** What the i-th operation, an `ls`, found. */
export const namesIn = (outcome: Outcome, i: number): string[] => [...((outcome.lines[i]?.names as string[] | undefined) ?? [])].sort();

/** The mounts of a mountinfo by their places. */
export const mountsOf = (mountinfo: string): Map<string, { options: string[]; type: string; source: string }> =>
  new Map(
    mountinfo
      .trim()
      .split('\n')
      .map((line) => {
        const [left = '', right = ''] = line.split(' - ');
        const fields = left.split(' ');
        const [type = '', source = ''] = right.split(' ');
        return [fields[4] ?? '', { options: (fields[5] ?? '').split(','), type, source }];
      }),
  );
