import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const generated = new Set(['node_modules', 'dist', 'build', 'generated', '.git']);

/** Every file below `path` (or `path` itself) whose name passes, in a fixed order. Generated folders are left out. */
export function filesBelow(path, passes = () => true) {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) return [];
  if (!stats.isDirectory()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const child = join(path, entry.name);
      if (entry.isDirectory()) return generated.has(entry.name) ? [] : filesBelow(child, passes);
      return entry.isFile() && passes(entry.name) ? [child] : [];
    });
}

/** sha256 (hex) over names and contents, so that neither a checkout's times nor its place matter. */
export function hashFiles(root, files) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  return hash.digest('hex');
}

/** What was done last, by step: `.berth/setup.json` in the checkout. */
export class Stamps {
  constructor(root) {
    this.path = join(root, '.berth/setup.json');
    try {
      this.steps = JSON.parse(readFileSync(this.path, 'utf8'));
    } catch {
      this.steps = {};
    }
  }

  has(step, hash) {
    return this.steps[step] === hash;
  }

  write(step, hash) {
    this.steps[step] = hash;
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(this.path, `${JSON.stringify(this.steps, null, 2)}\n`);
  }
}
