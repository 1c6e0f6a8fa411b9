import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow, hashFiles } from './stamp.mjs';

/**
 * A part of the build: `hash` says what it is made from, `made` whether its products are there, `make` makes them or throws.
 *
 * @typedef {{ title: string, hash: () => string, made: () => boolean, make: () => void }} Build
 */

/** The Prisma client, from the schema. @returns {Build} */
export function prismaClient(root) {
  return {
    title: 'Prisma client',
    hash: () =>
      hashFiles(root, [...filesBelow(join(root, 'prisma')), join(root, 'libs/store/generate.mjs'), join(root, 'libs/store/package.json')]),
    made: () => existsSync(join(root, 'libs/store/src/generated')),
    make: () => run(root, process.execPath, ['libs/store/generate.mjs']),
  };
}

/** All TypeScript, by project references. @returns {Build} */
export function typescript(root) {
  const projects = readProjects(root);
  const sources = () => [
    join(root, 'tsconfig.base.json'),
    join(root, 'tsconfig.json'),
    join(root, 'package-lock.json'),
    ...projects.flatMap((project) =>
      filesBelow(join(root, project), (name) => /\.(ts|mts|tsx)$|^tsconfig.*\.json$|^package\.json$/.test(name)),
    ),
    ...(existsSync(join(root, 'libs/store/src/generated'))
      ? readdirSync(join(root, 'libs/store/src/generated'), { recursive: true, withFileTypes: true })
      : []
    )
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name)),
  ];
  return {
    title: 'TypeScript',
    hash: () => hashFiles(root, sources()),
    made: () => projects.every((project) => existsSync(join(root, project, 'dist'))),
    make: () => {
      run(root, process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b']);
      for (const project of projects) prune(join(root, project));
    },
  };
}

const nativeBuilds = {
  release: { title: 'native programs', made: 'berth-runtime', args: [] },
  sanitized: { title: 'native programs with sanitizers', made: 'san/berth-runtime', args: ['SAN=1'] },
  fuzzing: { title: 'fuzz targets', made: 'fuzz/fuzz-planted', args: ['FUZZ=1'] },
};

/** The native programs: those that are used, those with ASan and UBSan, or the fuzz targets. @param {keyof typeof nativeBuilds} kind @returns {Build} */
export function native(root, kind = 'release') {
  const folder = join(root, 'native');
  const { title, made, args } = nativeBuilds[kind];
  return {
    title,
    hash: () => hashFiles(root, filesBelow(folder)),
    made: () => existsSync(join(folder, 'build', made)),
    make: () => run(root, 'make', ['-s', '-j2', '-C', 'native', ...args]),
  };
}

const readProjects = (root) => JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8')).references.map(({ path }) => path);

/** tsc leaves what it once made from a source that is gone, and a test that is gone must not run on. */
function prune(project) {
  const dist = join(project, 'dist');
  const sourceRoot = existsSync(join(project, 'src')) ? join(project, 'src') : project;
  if (!existsSync(dist)) return;
  for (const name of readdirSync(dist, { recursive: true })) {
    const stem = /^(.*)\.(?:d\.ts|d\.ts\.map|js|js\.map)$/.exec(name)?.[1];
    if (stem !== undefined && !['.ts', '.tsx', '.json', '.js'].some((extension) => existsSync(join(sourceRoot, stem + extension)))) {
      rmSync(join(dist, name));
    }
  }
}

/** Runs to the end, showing nothing unless it fails. */
function run(root, program, args) {
  const result = spawnSync(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', maxBuffer: 64 << 20 });
  if (result.status === 0) return;
  const tail = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim().split('\n').slice(-40).join('\n');
  throw new Error(`${[program, ...args].join(' ')} failed${result.error ? `: ${result.error.message}` : ''}\n${tail}`);
}
