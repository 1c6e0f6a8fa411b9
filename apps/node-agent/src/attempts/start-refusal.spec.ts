import { describe, expect, it } from 'vitest';
import { startRefusal } from './start-refusal.js';

describe('the words of runtimes', () => {
  it.each([
    ['exec sh: executable file not found in $PATH', 'exec sh: executable file not found in $PATH'],
    ['exec /bin/x: permission denied', 'exec /bin/x: permission denied'],
    [
      'runc create failed: unable to start container process: exec: "/x": stat /x: no such file or directory: unknown',
      'exec: "/x": stat /x: no such file or directory: unknown',
    ],
    [
      'executable file `nothing` not found in $PATH: No such file or directory',
      'executable file `nothing` not found in $PATH: No such file or directory',
    ],
    [
      'starting sandbox: creating process: failed to load /bin/x: no such file or directory',
      'failed to load /bin/x: no such file or directory',
    ],
    ['enter the working directory /secret: Permission denied', 'enter the working directory /secret: Permission denied'],
  ])('%j blame the run', (message, told) => {
    expect(startRefusal(message)).toBe(told);
  });

  it.each([
    'mount /srv/x: permission denied',
    "the node's lease ran out before the container started",
    'linux.seccomp is not supported',
    'unexec',
  ])('%j blame the node', (message) => {
    expect(startRefusal(message)).toBeNull();
  });
});
