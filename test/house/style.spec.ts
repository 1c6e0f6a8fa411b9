import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, extname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');
const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean);

/** What is or is about to be committed. A source archive has no git; then there is nothing to guard. */
const files = existsSync(join(root, '.git'))
  ? git('ls-files', '-z', '--cached', '--others', '--exclude-standard').filter((path) => existsSync(join(root, path)))
  : [];

// This file spells out what it forbids.
const self = 'test/house/style.spec.ts';
const text = (path: string) => readFileSync(join(root, path), 'utf8');
const withExtension = (...extensions: string[]) => files.filter((path) => extensions.includes(extname(path)) && path !== self);
const code = () => withExtension('.ts', '.mts', '.mjs', '.js', '.c', '.h', '.sh');

/** Places where `pattern` matches, as `path:line: text`. */
const matches = (paths: string[], pattern: RegExp) =>
  paths.flatMap((path) =>
    text(path)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );

const longerThan = (paths: string[], limit: number) =>
  paths.map((path) => ({ path, lines: text(path).split('\n').length - 1 })).filter(({ lines }) => lines > limit);

describe.skipIf(files.length === 0)('the house style, in a git checkout', () => {
  it('keeps TypeScript and scripts under 400 lines a file', () => {
    expect(longerThan(withExtension('.ts', '.mts', '.mjs'), 400)).toEqual([]);
  });

  it('keeps C under 500 lines a file', () => {
    expect(longerThan(withExtension('.c', '.h'), 500)).toEqual([]);
  });

  it('leaves no notes to come back later', () => {
    expect(matches(code(), /\b(TODO|FIXME|XXX|HACK)\b|\bfor now\b|\bnot implemented\b/)).toEqual([]);
  });

  it('runs every test: none is singled out, none is switched off without a condition', () => {
    expect(matches(withExtension('.ts'), /\b(it|test|describe)\.(only|todo)\b|\b(it|test|describe)\.skip\(/)).toEqual([]);
  });

  it('names no path of any one machine', () => {
    const everything = files.filter(
      (path) => !['.png', '.svg', '.bin', '.gz'].includes(extname(path)) && path !== self && path !== 'package-lock.json',
    );
    expect(matches(everything, /(^|[^\w./-])\/(work|home\/\w+|Users)\/|\.library\b/)).toEqual([]);
  });

  it('takes npm packages from whatever registry the user has', () => {
    expect(matches(['package-lock.json'], /"resolved": "http/)).toEqual([]);
  });

  it('names files in kebab-case', () => {
    const named = withExtension('.ts', '.mts', '.mjs', '.sh').filter(
      (path) => !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)+$/.test(basename(path)),
    );
    expect(named).toEqual([]);
  });

  it('calls nothing a Manager, Helper, Util, Data or Info', () => {
    expect(
      matches(
        withExtension('.ts', '.mts'),
        /^\s*(export\s+)?(abstract\s+)?(class|interface|type|enum)\s+\w*(Manager|Helper|Utils?|Data|Info)\b/,
      ),
    ).toEqual([]);
    expect(code().filter((path) => /(manager|helper|utils?)s?\.\w+$/.test(path))).toEqual([]);
  });
});
