import { existsSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize, relative } from 'node:path';
import { filesBelow } from '../setup/stamp.mjs';
import { readModule } from './imports.mjs';

/**
 * The boundaries between the parts. A violation fails the build.
 *
 *   core-is-pure        libs/core imports itself and pure hash functions, and uses no clock, chance or process
 *   index-only          another package is imported by its name alone, and no relative import leaves its package
 *   apps-stand-alone    nobody imports an app
 *   nest-in-apps        only apps know the framework
 *   declared            what is imported stands in the package's own package.json
 *   no-circles          neither files nor packages import each other in a circle
 *
 * @typedef {import('./imports.mjs').Module} Module
 * @typedef {{ rule: string, at: string, message: string }} Violation
 * @typedef {{ folder: string, name: string, dependencies: string[] }} Package
 */

const pureBuiltins = { 'node:crypto': ['createHash', 'createHmac', 'timingSafeEqual'] };
// Besides specs and suites, what only they use: a file or folder named testing.
const isTest = (path) => /\.(spec|suite)\.ts$|\/testing(\.ts$|\/)/.test(path);

/** Judges modules whose paths are relative to the checkout; `shared` are the dependencies that every test may use. @returns {Violation[]} */
export function findViolations(packages, modules, shared = []) {
  const found = [];
  const edges = new Map();
  const packageEdges = new Map(packages.map(({ folder }) => [folder, new Set()]));
  const paths = new Set(modules.map(({ path }) => path));
  for (const module of modules) {
    const home = packages.find(({ folder }) => module.path.startsWith(`${folder}/`));
    const report = (rule, line, message) => found.push({ rule, at: `${module.path}:${line}`, message });
    const targets = [];
    edges.set(module.path, targets);
    if (home?.folder === 'libs/core' && !isTest(module.path)) {
      for (const { what, line } of module.impurities) report('core-is-pure', line, `uses ${what}`);
    }
    for (const one of module.imports) {
      if (one.specifier.startsWith('.')) {
        const target = normalize(join(dirname(module.path), one.specifier)).replace(/\.js$/, '.ts');
        if (home && !target.startsWith(`${home.folder}/`)) report('index-only', one.line, `reaches out of its package to ${one.specifier}`);
        if (paths.has(target)) targets.push(target);
      } else if (home) {
        for (const { rule, message } of judge(home, module, one, packages, shared)) report(rule, one.line, message);
        const target = packages.find(({ name }) => name === packageName(one.specifier));
        if (target && !isTest(module.path)) packageEdges.get(home.folder).add(target.folder);
      }
    }
  }
  for (const circle of [...findCircles(edges), ...findCircles(packageEdges)]) {
    found.push({ rule: 'no-circles', at: circle[0], message: circle.join(' -> ') });
  }
  return found;
}

function judge(home, module, { specifier, names }, packages, shared) {
  const found = [];
  const name = packageName(specifier);
  const builtin = specifier.startsWith('node:') || builtinModules.includes(specifier);
  const target = packages.find((one) => one.name === name);
  if (home.folder === 'libs/core' && !isTest(module.path)) {
    const allowed = pureBuiltins[specifier] ?? [];
    if (!names.length || !names.every((one) => allowed.includes(one)))
      found.push({ rule: 'core-is-pure', message: `imports ${specifier}` });
  }
  if (target && specifier !== target.name) found.push({ rule: 'index-only', message: `imports ${specifier} instead of ${target.name}` });
  if (target?.folder.startsWith('apps/')) found.push({ rule: 'apps-stand-alone', message: `imports the app ${target.name}` });
  if (name.startsWith('@nestjs/') && !home.folder.startsWith('apps/'))
    found.push({ rule: 'nest-in-apps', message: `imports ${specifier}` });
  const declared = [...home.dependencies, ...(isTest(module.path) ? shared : [])];
  if (!builtin && !specifier.startsWith('#') && !declared.includes(name)) {
    found.push({ rule: 'declared', message: `imports ${name}, which ${home.folder}/package.json does not name` });
  }
  return found;
}

const packageName = (specifier) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** Each circle once, as the path that closes it (Tarjan's strongly connected components would lose the order). */
function findCircles(edges) {
  const circles = [];
  const done = new Set();
  const walk = (node, trail) => {
    if (trail.includes(node)) {
      circles.push([...trail.slice(trail.indexOf(node)), node]);
      return;
    }
    if (done.has(node)) return;
    for (const next of edges.get(node) ?? []) walk(next, [...trail, node]);
    done.add(node);
  };
  for (const node of edges.keys()) walk(node, []);
  return circles;
}

/** Reads the checkout and judges it. @returns {Violation[]} */
export function checkBoundaries(root) {
  const manifest = (folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
  const folders = JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8')).references.map(({ path }) => path);
  const packages = folders
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => {
      const { name, dependencies = {}, devDependencies = {} } = manifest(folder);
      return { folder, name, dependencies: [...Object.keys(dependencies), ...Object.keys(devDependencies)] };
    });
  const modules = packages
    .flatMap(({ folder }) => filesBelow(join(root, folder, 'src'), (name) => name.endsWith('.ts')))
    .map((path) => ({ ...readModule(path), path: relative(root, path) }));
  const shared = [...Object.keys(manifest('.').devDependencies), '@berth/testing'];
  return findViolations(packages, modules, shared);
}
