import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ImageProcess, normalizeDirectory, type RequestedProcess, resolveProcess } from './process.js';

const image: ImageProcess = {
  entrypoint: ['/entry', 'e'],
  cmd: ['c'],
  env: ['A=image', 'B=image'],
  workingDir: '',
  user: '',
  stopSignal: undefined,
};
const request: RequestedProcess = { env: {}, init: false };
const noAccounts = { passwd: '', group: '' };

const resolve = (imagePart: Partial<ImageProcess>, requestPart: Partial<RequestedProcess> = {}) => {
  const result = resolveProcess({ ...image, ...imagePart }, { ...request, ...requestPart }, noAccounts, 'host');
  if (result.kind === 'refused') throw new Error(result.reason);
  return result.process;
};

describe('the process of a container', () => {
  it.each([
    ['entrypoint and cmd of the image', {}, ['/entry', 'e', 'c']],
    ['args in place of cmd', { args: ['x'] }, ['/entry', 'e', 'x']],
    ['no args at all in place of cmd', { args: [] }, ['/entry', 'e']],
    ['a command that replaces entrypoint and drops cmd', { command: ['run'] }, ['run']],
    ['a command with its args', { command: ['run'], args: ['x'] }, ['run', 'x']],
  ])('is %s', (_, part, args) => {
    expect(resolve({}, part).args).toEqual(args);
  });

  it('runs under the init when asked', () => {
    expect(resolve({}, { init: true }).args).toEqual(['/dev/init', '--', '/entry', 'e', 'c']);
  });

  it('is refused when nobody names a command', () => {
    expect(() => resolve({ entrypoint: [], cmd: [] })).toThrow(/names a command/);
    expect(() => resolve({ entrypoint: [''], cmd: [] })).toThrow(/names a command/);
  });

  it('has the environment of defaults, image and request, the last winning', () => {
    const { env } = resolve({ env: ['A=image', 'A=again', 'B=image', 'PATH=/only'] }, { env: { B: 'run', C: 'a=b' } });
    expect(env).toEqual(['PATH=/only', 'HOSTNAME=host', 'HOME=/', 'A=again', 'B=run', 'C=a=b']);
  });

  it.each(['NOTHING', '=x', 'A\nB=1', 'A\0=1', 'A=\0'])('is refused for an image with the environment %j', (entry) => {
    expect(() => resolve({ env: [entry] })).toThrow();
  });

  it.each(['', 'A=B', 'A\nB', 'A\0'])('is refused for a run with the variable %j', (name) => {
    expect(() => resolve({}, { env: { [name]: 'x' } })).toThrow();
  });

  it('never tells the value of a variable', () => {
    expect(() => resolve({}, { env: { GOOD: 'secret\0' } })).toThrow(/^(?!.*secret)/);
    expect(() => resolve({}, { env: { LONG: `secret${'x'.repeat(200_000)}` } })).toThrow(/^(?!.*secret)/);
  });

  it('never has two entries of one name, or one without a name', () => {
    const word = fc.stringMatching(/^[A-Z=\n]{0,3}$/);
    fc.assert(
      fc.property(fc.array(word), fc.dictionary(word, fc.string()), (env, requested) => {
        const result = resolveProcess({ ...image, env }, { ...request, env: requested }, noAccounts, 'host');
        if (result.kind === 'refused') return;
        const names = result.process.env.map((entry) => entry.slice(0, entry.indexOf('=')));
        expect(names.every((name) => name !== '' && !name.includes('\n'))).toBe(true);
        expect(new Set(names).size).toBe(names.length);
      }),
    );
  });

  it('starts in the directory that the run or the image names', () => {
    expect(resolve({ workingDir: '/image' }).cwd).toBe('/image');
    expect(resolve({ workingDir: '/image' }, { workingDir: '/run' }).cwd).toBe('/run');
    expect(resolve({ workingDir: '' }).cwd).toBe('/');
    expect(() => resolve({ workingDir: 'relative' })).toThrow(/absolute/);
  });

  it('normalizes a directory to one without detours', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '..', '.', '', 'b')), (parts) => {
        const directory = normalizeDirectory(`/${parts.join('/')}`);
        expect(directory).toMatch(/^\/(?:[ab](?:\/[ab])*)?$/);
      }),
    );
  });

  it("stops with the image's signal", () => {
    expect(resolve({}).stopSignal).toBe(15);
    expect(resolve({ stopSignal: 'SIGQUIT' }).stopSignal).toBe(3);
    expect(() => resolve({ stopSignal: 'SIGNONE' })).toThrow(/does not exist/);
  });
});
