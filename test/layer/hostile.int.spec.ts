import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HostileLayer, hostileLayers } from './hostile-layers.js';
import { berthLayer, isRoot, isSanitized, LayerFixture, layerForms, runLayer } from './layer-fixture.js';
import { look } from './look.js';
import { type RawEntry, rawTar } from './raw-tar.js';
import { base, visibleLayers } from './visible-layers.js';

const limitsOf = ({ limits: { bytes, entries } = {} }: HostileLayer): string[] => [
  ...(bytes === undefined ? [] : ['--max-bytes', `${bytes}`]),
  ...(entries === undefined ? [] : ['--max-entries', `${entries}`]),
];

describe.skipIf(!isRoot).each(layerForms)('a hostile layer, $form', ({ make }) => {
  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(async () => {
    const contained = await fixture.isContained();
    await fixture.dispose();
    expect(contained).toBe(true);
  });

  it.each(hostileLayers)('is refused with little memory, and nothing outside is touched: $what', async (hostile) => {
    let sent = 0;
    const tar = hostile.tar;
    const counted = function* (): Generator<Buffer> {
      for (const chunk of typeof tar === 'function' ? tar() : [tar]) {
        sent += chunk.length;
        yield chunk;
      }
    };
    // The sanitizers' own shadow memory would not fit.
    const command = isSanitized ? [berthLayer] : ['prlimit', `--as=${16 << 20}`, berthLayer];
    const outcome = await runLayer([...command.slice(1), ...make(fixture.layer), ...limitsOf(hostile)], counted, command[0]);
    expect(outcome).toMatchObject({ status: 1, signal: null, answer: { error: hostile.refusal } });
    // Whoever sends without end is not listened to without end.
    expect(sent).toBeLessThan(16 << 20);
    expect(await readdir(fixture.layer)).not.toContain('image.erofs');
  });
});

describe.skipIf(!isRoot)('a layer', () => {
  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(() => fixture.dispose());

  it('of links upon links is unpacked, measured and removed, however deep', async () => {
    const trunk = Array.from({ length: 200 }, () => 'd').join('/');
    const layers = Array.from({ length: 12 }, (_, index): RawEntry[] => {
      const from = index === 0 ? '' : `by${index}/`;
      const to = (index === 0 ? '' : `by${index}/`) + trunk;
      return [
        { name: 'x', type: '5', mode: 0o755, pax: { path: from + trunk } },
        { name: `by${index + 1}`, type: '2', pax: { linkpath: to } },
      ];
    });
    expect((await fixture.unpack(rawTar(...layers.flat()))).status).toBe(0);
    expect((await runLayer(['measure', '--dir', fixture.layer])).answer.inodes).toBe(1 + 12 * 200 + 12);
    expect((await runLayer(['remove', '--dir', fixture.layer])).status).toBe(0);
    await mkdir(fixture.layer);
  });
});

describe.skipIf(!isRoot).each(layerForms)('a strange layer, $form, above another', ({ make, lower, release }) => {
  let fixture: LayerFixture;
  beforeEach(async () => {
    fixture = await LayerFixture.make();
  });
  afterEach(() => fixture.dispose());

  it.each(visibleLayers)('shows a container what its author may ask for and no more: $what', async ({ entries, shows }) => {
    const at = (name: string) => join(fixture.root, name);
    for (const name of ['lower', 'upper', 'work', 'target']) await mkdir(at(name));
    expect(await runLayer(make(at('lower')), rawTar(...base))).toMatchObject({ status: 0 });
    expect(await runLayer(make(fixture.layer), rawTar(...entries))).toMatchObject({ status: 0 });
    const mount = [
      'mount',
      '--target',
      at('target'),
      '--upper',
      at('upper'),
      '--work',
      at('work'),
      ...lower(fixture.layer),
      ...lower(at('lower')),
    ];
    expect((await runLayer(mount)).answer).toEqual({});
    try {
      const seen = Object.fromEntries(await Promise.all(Object.keys(shows).map(async (path) => [path, await look(at('target'), path)])));
      expect(seen).toEqual(shows);
      expect((await readdir(at('target'))).filter((name) => /^\.wh\.(?!_)/.test(name))).toEqual([]);
    } finally {
      // Each image's mount point stands in a directory of its own here.
      for (const dir of [fixture.layer, at('lower')])
        expect((await runLayer(['unmount', '--target', at('target'), ...release(dir)])).status).toBe(0);
    }
  });
});
