import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lchownSync, linkSync, lutimesSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { berthLayer, describeTree, isRoot, LayerFixture, layerForms, runLayer } from './layer-fixture.js';
import { withImage } from './mounted-image.js';
import { rawTar } from './raw-tar.js';

interface Node {
  readonly path: readonly string[];
  readonly kind: 'file' | 'directory' | 'symlink' | 'hardlink' | 'fifo';
  readonly mode: number;
  readonly owner: number;
  readonly time: number;
  readonly content: Uint8Array;
}

const name = fc.oneof(
  fc.constantFrom('a', 'b', 'c', 'dir', ' space', '-dash', 'new\nline', 'ümlaut', 'back\\slash', 'x'.repeat(120), 'y'.repeat(255)),
  fc.string({ unit: fc.constantFrom('p', 'q', 'r', '*', '"', '\t'), minLength: 1, maxLength: 8 }),
);
const node: fc.Arbitrary<Node> = fc.record({
  path: fc.array(name, { minLength: 1, maxLength: 5 }),
  kind: fc.constantFrom('file', 'directory', 'symlink', 'hardlink', 'fifo'),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  owner: fc.constantFrom(0, 1, 1000, 65_534, 2_097_151, 2_097_152, 3_000_000_000),
  time: fc.integer({ min: 0, max: 4_000_000_000 }),
  content: fc.uint8Array({ maxLength: 2000 }),
});

/** Puts what can be put of a random description onto the disk; what stands in each other's way is left out. */
function plant(root: string, nodes: readonly Node[]): void {
  const files: string[] = [];
  const planted: { path: string; node: Node }[] = [];
  for (const each of nodes) {
    const path = join(root, ...each.path);
    try {
      mkdirSync(join(path, '..'), { recursive: true });
      if (each.kind === 'file') writeFileSync(path, each.content, { flag: 'wx' });
      else if (each.kind === 'directory') mkdirSync(path);
      else if (each.kind === 'symlink') symlinkSync(each.path.join('/'), path);
      else if (each.kind === 'fifo') execFileSync('mkfifo', ['--', path], { stdio: 'ignore' });
      else linkSync(files[each.mode % Math.max(1, files.length)] ?? '', path);
    } catch {
      continue;
    }
    if (each.kind === 'file') files.push(path);
    planted.push({ path, node: each });
  }
  for (const { path, node: each } of planted.reverse()) {
    lchownSync(path, each.owner, each.owner);
    if (each.kind !== 'symlink') chmodSync(path, each.mode);
    lutimesSync(path, each.time, each.time);
  }
}

describe.skipIf(!isRoot)('an archive by GNU tar', () => {
  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(() => fixture.dispose());

  it.each(['pax', 'gnu'])('in the %s format unpacks to the very tree that it was made of, on a disk and in an image', async (format) => {
    let round = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(node, { maxLength: 12 }), async (nodes) => {
        const [source, target] = [join(fixture.root, `source-${++round}`), join(fixture.root, `target-${round}`)];
        await mkdir(source);
        await mkdir(target);
        plant(source, nodes);
        const tar = execFileSync('tar', [`--format=${format}`, '-C', source, '-cf', '-', '.'], { maxBuffer: 2 ** 28 });
        const made = await describeTree(source);
        expect(await runLayer(['unpack', '--dir', target], tar)).toMatchObject({ status: 0 });
        expect(await describeTree(target)).toEqual(made);
        await withImage(fixture.root, tar, async (image) => expect(await describeTree(image)).toEqual(made));
      }),
      { numRuns: 20 },
    );
  });
});

describe.skipIf(!isRoot)('a damaged archive', () => {
  const sanitized = join(berthLayer, '../san/berth-layer');
  const program = existsSync(sanitized) ? sanitized : berthLayer;

  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(() => fixture.dispose());

  it('is unpacked or refused, never a crash, and never a step outside', async () => {
    const whole = rawTar(
      { name: 'dir/', type: '5' },
      { name: 'dir/file', content: Buffer.alloc(700, 'c'), pax: { mtime: '12.5', 'SCHILY.xattr.user.a': 'b' } },
      { name: 'L', type: 'L', content: `${'n'.repeat(300)}\0` },
      { name: 'short', type: '2', link: '../outside' },
      { name: 'hard', type: '1', link: 'dir/file' },
      { name: 'dir/.wh.x' },
      { name: 'dir/.wh..wh..opq' },
      { name: 'pipe', type: '6' },
    );
    const interesting = [0, 1, 0x2e, 0x2f, 0x30, 0x31, 0x37, 0x7f, 0x80, 0xff, 0x0a, 0x3d, 0x78, 0x4c];
    const edit = fc.record({
      at: fc.nat(whole.length - 1),
      byte: fc.oneof(fc.constantFrom(...interesting), fc.nat(255)),
      length: fc.integer({ min: 1, max: 12 }),
    });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 6 }), fc.boolean(), async (edits, resealed) => {
        const tar = Buffer.from(whole);
        for (const { at, byte, length } of edits) tar.fill(byte, at, Math.min(at + length, tar.length));
        // With checksums made good again the damage reaches what lies behind them.
        if (resealed)
          for (let block = 0; block < tar.length; block += 512)
            if (tar.toString('latin1', block + 257, block + 262) === 'ustar') reseal(tar.subarray(block, block + 512));
        const dir = join(fixture.layer, `${++round}`);
        await mkdir(dir);
        const outcomes = layerForms.map(({ make }) => {
          const outcome = spawnSync(program, [...make(dir), '--max-bytes', '1000000'], { input: tar, env: {} });
          expect(outcome.signal).toBeNull();
          expect(outcome.stderr.toString()).toBe('');
          return { status: outcome.status, error: JSON.parse(outcome.stdout.toString()).error };
        });
        expect([0, 1]).toContain(outcomes[0]?.status);
        // One archive, one verdict, whatever it becomes.
        expect(outcomes[1]).toEqual(outcomes[0]);
        expect(await fixture.isContained()).toBe(true);
      }),
      { numRuns: 80 },
    );
  });
});

function reseal(header: Buffer): void {
  header.fill(' ', 148, 156);
  header.write(
    `${header
      .reduce((total, byte) => total + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
    'latin1',
  );
}
