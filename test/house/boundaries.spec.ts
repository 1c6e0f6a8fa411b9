import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkBoundaries, findViolations } from '#scripts/verify/boundaries.mjs';
import { readModule } from '#scripts/verify/imports.mjs';

const packages = [
  { folder: 'libs/core', name: '@berth/core', dependencies: [] },
  { folder: 'libs/store', name: '@berth/store', dependencies: ['@berth/core', 'pg', '@nestjs/common'] },
  { folder: 'apps/registry', name: '@berth/registry', dependencies: ['@berth/core', '@berth/store', '@nestjs/common'] },
  { folder: 'apps/cli', name: '@berth/cli', dependencies: ['@berth/core', '@berth/registry', '@berth/store'] },
];

/** The rules that a set of sources breaks. */
const broken = (sources: Record<string, string>) =>
  findViolations(
    packages,
    Object.entries(sources).map(([path, source]) => readModule(path, source)),
    ['vitest'],
  ).map(({ rule }) => rule);

describe('the boundaries', () => {
  it('hold in this checkout', () => {
    expect(checkBoundaries(resolve(import.meta.dirname, '../../..'))).toEqual([]);
  });

  it('let the parts use each other as they should', () => {
    expect(
      broken({
        'libs/core/src/a.ts': "import { b } from './b.js'; import { createHmac } from 'node:crypto'; export const a = b(createHmac);",
        'libs/core/src/b.ts': 'export const b = (x: unknown) => x;',
        'libs/core/src/b.spec.ts': "import { it } from 'vitest'; import { b } from './b.js'; it('', () => b(Date.now()));",
        'libs/store/src/index.ts':
          "import type { A } from '@berth/core'; import pg from 'pg'; import fs from 'node:fs'; export { pg, fs, type A };",
        'apps/registry/src/main.ts': "import { Module } from '@nestjs/common'; import '@berth/store'; export { Module };",
      }),
    ).toEqual([]);
  });

  it.each([
    ['another library', "import { x } from '@berth/store';"],
    ['a type of another library', "import type { X } from '@berth/store';"],
    ['a type written in place', "export type X = import('@berth/store').X;"],
    ['a library at run time', "export const x = () => import('@berth/store');"],
    ['what another library exports', "export * from '@berth/store';"],
    ['a built-in that does I/O', "import fs from 'node:fs'; export { fs };"],
    ['chance', "import { randomBytes } from 'node:crypto'; export { randomBytes };"],
    ['the clock', 'export const now = () => Date.now();'],
    ['the clock by another name', 'export const now = () => new Date();'],
    ['a timer', 'export const later = (f: () => void) => setTimeout(f, 1);'],
    ['the environment', 'export const home = () => process.env.HOME;'],
  ])('keep core from %s', (_, source) => {
    expect(broken({ 'libs/core/src/a.ts': source })).toContain('core-is-pure');
  });

  it.each([
    ['a file inside another package', "import '@berth/core/dist/secret.js';"],
    ['a relative path out of the package', "import '../../core/src/a.js';"],
  ])('keep libraries behind their index: %s', (_, source) => {
    expect(broken({ 'libs/store/src/a.ts': source })).toContain('index-only');
  });

  it('keep apps apart, types included', () => {
    expect(broken({ 'apps/cli/src/a.ts': "import type { Registry } from '@berth/registry';" })).toContain('apps-stand-alone');
  });

  it('keep the framework in the apps', () => {
    expect(broken({ 'libs/store/src/a.ts': "import { Injectable } from '@nestjs/common';" })).toEqual(['nest-in-apps']);
  });

  it('ask that what is imported is declared', () => {
    expect(broken({ 'libs/store/src/a.ts': "import 'left-pad';" })).toEqual(['declared']);
    expect(broken({ 'libs/store/src/a.ts': "import 'vitest';" })).toEqual(['declared']);
  });

  it('refuse a circle of files', () => {
    expect(
      broken({
        'libs/core/src/a.ts': "import './b.js';",
        'libs/core/src/b.ts': "import type { C } from './c.js';",
        'libs/core/src/c.ts': "export { a } from './a.js';",
      }),
    ).toEqual(['no-circles']);
  });

  it('refuse a circle of packages', () => {
    expect(broken({ 'libs/store/src/a.ts': "import '@berth/registry';", 'apps/registry/src/a.ts': "import '@berth/store';" })).toContain(
      'no-circles',
    );
  });
});
