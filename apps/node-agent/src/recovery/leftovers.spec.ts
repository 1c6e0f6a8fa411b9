import { describe, expect, it } from 'vitest';
import { shimDirectoryOf } from './find-shims.js';
import { mountsBelow } from './leftovers.js';

describe('what an earlier agent may have left', () => {
  it('is found among mounts by its folder, escapes undone', () => {
    const mountinfo = [
      '42 53 0:40 / /srv/agent/snapshots/a/rootfs rw - overlay overlay rw',
      '43 53 0:41 / /srv/agent\\040other/x rw - tmpfs tmpfs rw',
      '44 53 0:42 / /srv/agent rw - tmpfs tmpfs rw',
      '',
    ].join('\n');
    expect(mountsBelow(mountinfo, '/srv/agent')).toEqual(['/srv/agent/snapshots/a/rootfs']);
    expect(mountsBelow(mountinfo, '/srv/agent other')).toEqual(['/srv/agent other/x']);
  });

  it('is found among processes by the folder of a shim', () => {
    const line = (...words: string[]) => `${words.join('\0')}\0`;
    expect(shimDirectoryOf(line('/n/berth-shim', '--id', 'a', '--dir', '/c/a/shim'), '/c')).toBe('/c/a/shim');
    expect(shimDirectoryOf(line('/n/berth-shim', '--dir', '/other/a/shim'), '/c')).toBeNull();
    expect(shimDirectoryOf(line('/n/berth-shim', '--id', '/c/a'), '/c')).toBeNull();
    expect(shimDirectoryOf(line('/bin/cat', '--dir', '/c/a/shim'), '/c')).toBeNull();
    expect(shimDirectoryOf('', '/c')).toBeNull();
  });
});
