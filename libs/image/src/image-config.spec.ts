import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseImageConfig } from './image-config.js';
import { ImageError } from './image-error.js';

const rootfs = { type: 'layers', diff_ids: [`sha256:${'a'.repeat(64)}`] };
const parse = (document: unknown) => parseImageConfig(Buffer.from(JSON.stringify(document)));

describe('an image configuration', () => {
  it('is read with every field that a run needs', () => {
    const config = {
      Entrypoint: ['/init', '--'],
      Cmd: ['serve'],
      Env: ['PATH=/bin', 'A=b=c'],
      WorkingDir: '/srv',
      User: '1000:1000',
      StopSignal: 'SIGQUIT',
      Labels: { a: 'b' },
      Volumes: { '/data': {}, '/cache': {} },
      ExposedPorts: { '80/tcp': {} },
    };
    expect(parse({ architecture: 'amd64', os: 'linux', config, rootfs })).toEqual({
      architecture: 'amd64',
      os: 'linux',
      entrypoint: ['/init', '--'],
      cmd: ['serve'],
      env: ['PATH=/bin', 'A=b=c'],
      workingDir: '/srv',
      user: '1000:1000',
      stopSignal: 'SIGQUIT',
      labels: { a: 'b' },
      volumes: ['/cache', '/data'],
      exposedPorts: ['80/tcp'],
      diffIds: rootfs.diff_ids,
    });
  });

  it('may leave anything out, or say null as Docker does', () => {
    const empty = { entrypoint: [], cmd: [], env: [], workingDir: '', user: '', stopSignal: undefined, labels: {}, volumes: [] };
    expect(parse({ rootfs })).toMatchObject(empty);
    expect(parse({ rootfs, config: null })).toMatchObject(empty);
    expect(parse({ rootfs, config: { Entrypoint: null, Cmd: null, Env: null, Labels: null, Volumes: null } })).toMatchObject(empty);
  });

  it.each([
    ['a command that is a text', { config: { Cmd: 'sh' } }],
    ['a number among the arguments', { config: { Entrypoint: ['a', 1] } }],
    ['NUL in an argument', { config: { Cmd: ['a\0b'] } }],
    ['NUL in the environment', { config: { Env: ['A=\0'] } }],
    ['a relative working directory', { config: { WorkingDir: '../..' } }],
    ['a user that is a number', { config: { User: 0 } }],
    ['labels that are no texts', { config: { Labels: { a: {} } } }],
    ['a list for an object', { config: [] }],
    ['no rootfs', { rootfs: undefined }],
    ['a malformed diff id', { rootfs: { type: 'layers', diff_ids: ['sha256:../x'] } }],
  ])('is refused with %s', (_what, part) => {
    expect(() => parse({ rootfs, ...part })).toThrow(ImageError);
  });

  it('of any shape at all is read or refused with an ImageError', () => {
    fc.assert(
      fc.property(fc.record({ config: fc.jsonValue(), rootfs: fc.oneof(fc.constant(rootfs), fc.jsonValue()) }), (document) => {
        try {
          parse(document);
        } catch (error) {
          expect(error).toBeInstanceOf(ImageError);
        }
      }),
    );
  });
});
