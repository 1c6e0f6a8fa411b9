import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { dependenciesInstalled, reachableByAll } from '#scripts/setup/dependencies.mjs';
import { findStaticBusybox, installPackages, isStatic, missing } from '#scripts/setup/packages.mjs';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'berth-setup-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('the Debian packages', () => {
  it('are missing when their file is', () => {
    const wanted = [
      { name: 'there', present: () => true },
      { name: 'gone', present: () => false },
    ];
    expect(missing(wanted)).toEqual(['gone']);
  });

  it('that are all there cost no installation', () => {
    expect(installPackages([{ name: 'there', present: () => true }])).toEqual([]);
  });

  it('count a busybox only when it needs no libraries', () => {
    expect(isStatic(findStaticBusybox()!)).toBe(true);
    expect(isStatic(process.execPath)).toBe(false);
    writeFileSync(join(folder, 'script'), '#!/bin/sh\n');
    expect(isStatic(join(folder, 'script'))).toBe(false);
  });

  it.skipIf(process.getuid?.() !== 0)(
    'are named, with the command, to an account that cannot install them (asked as another account, so it needs root)',
    () => {
      // Given as text: the other account may not be able to read the checkout.
      const module = readFileSync(new URL('../../../scripts/setup/packages.mjs', import.meta.url), 'utf8');
      const script = `${module}
      try { installPackages([{ name: 'gcc', present: () => false }, { name: 'make', present: () => false }]); } catch (error) { console.log(error.message); }`;
      const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
        uid: 65534,
        gid: 65534,
        encoding: 'utf8',
        cwd: '/',
      });
      expect(stdout).toContain('apt-get update && apt-get install --yes --no-install-recommends gcc make');
    },
  );
});

describe('the npm packages', () => {
  const lock = (name: string, packages: object) => {
    mkdirSync(join(folder, 'node_modules'), { recursive: true });
    writeFileSync(join(folder, name), JSON.stringify({ packages }));
  };
  const installed = 'node_modules/.package-lock.json';

  it('are installed when every locked one is there in its version', () => {
    lock('package-lock.json', {
      '': {},
      'libs/a': {},
      'node_modules/x': { version: '1.0.0' },
      'node_modules/y': { version: '2.0.0', optional: true },
    });
    lock(installed, { 'node_modules/x': { version: '1.0.0' } });
    expect(dependenciesInstalled(folder)).toBe(true);
  });

  it('are not when one has another version, is missing, or nothing was ever installed', () => {
    lock('package-lock.json', { 'node_modules/x': { version: '1.0.0' } });
    expect(dependenciesInstalled(folder)).toBe(false);
    lock(installed, { 'node_modules/x': { version: '1.0.1' } });
    expect(dependenciesInstalled(folder)).toBe(false);
    lock(installed, {});
    expect(dependenciesInstalled(folder)).toBe(false);
  });
});

it('a path is reachable by all only when each of its folders is', () => {
  chmodSync(folder, 0o755);
  const inner = join(folder, 'closed/inner');
  mkdirSync(inner, { recursive: true });
  expect(reachableByAll(inner)).toBe(true);
  chmodSync(join(folder, 'closed'), 0o700);
  expect(reachableByAll(inner)).toBe(false);
});
