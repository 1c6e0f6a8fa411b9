/**
 * Legal layers of every strange shape, each with what a container sees of it above `base`, as data: every snapshotter shows the same. What a path shows is written as
 * `seen` in `look.ts` writes it.
 */
import type { RawEntry } from './raw-tar.js';

export interface VisibleLayer {
  readonly what: string;
  readonly entries: readonly RawEntry[];
  /** By path; `nothing` where the container must see none. */
  readonly shows: Readonly<Record<string, string>>;
}

const dir = (name: string, more: Partial<RawEntry> = {}): RawEntry => ({ name, type: '5', mode: 0o755, ...more });
const file = (name: string, content: string, more: Partial<RawEntry> = {}): RawEntry => ({ name, content, ...more });
const link = (name: string, target: string): RawEntry => ({ name, type: '2', link: target });

/** The layer beneath. */
export const base: readonly RawEntry[] = [
  dir('etc'),
  file('etc/config', 'lower'),
  file('etc/other', 'lower'),
  dir('var'),
  dir('var/full'),
  file('var/full/a', 'lower'),
  dir('var/full/sub'),
  file('var/full/sub/b', 'lower'),
  link('alias', 'var/full'),
  { name: 'pipe', type: '6' },
];

const whole = { 'etc/config': 'file lower', 'etc/other': 'file lower', 'var/full': 'directory a sub', 'var/full/sub/b': 'file lower' };
const without = (path: string): Record<string, string> => ({ ...whole, [path]: 'nothing' });

const whiteouts: VisibleLayer[] = [
  { what: 'nothing', entries: [], shows: { ...whole, '.': 'directory alias etc pipe var' } },
  { what: 'a whiteout of a file', entries: [file('etc/.wh.config', '')], shows: without('etc/config') },
  { what: 'a whiteout of a link, which leaves its target', entries: [file('.wh.alias', '')], shows: { ...whole, alias: 'nothing' } },
  { what: 'a whiteout of a FIFO', entries: [file('.wh.pipe', '')], shows: { ...whole, pipe: 'nothing' } },
  { what: 'a whiteout of a directory', entries: [file('var/.wh.full', '')], shows: { 'var/full': 'nothing', var: 'directory' } },
  { what: 'a whiteout of what is not there', entries: [file('etc/.wh.none', '')], shows: { ...whole, 'etc/none': 'nothing' } },
  { what: 'the same whiteout twice', entries: [file('etc/.wh.config', ''), file('etc/.wh.config', '')], shows: without('etc/config') },
  { what: 'a whiteout with content', entries: [file('etc/.wh.config', 'x'.repeat(2000))], shows: without('etc/config') },
  { what: 'a whiteout that is a directory', entries: [dir('etc/.wh.config')], shows: without('etc/config') },
  { what: 'a whiteout that is a link', entries: [link('etc/.wh.config', 'other')], shows: without('etc/config') },
  { what: 'a whiteout that is a FIFO', entries: [{ name: 'etc/.wh.config', type: '6' }], shows: without('etc/config') },
  { what: 'a whiteout that is a device', entries: [{ name: 'etc/.wh.config', type: '3' }], shows: without('etc/config') },
  { what: 'a whiteout by a long name', entries: [{ name: 'x', pax: { path: 'etc/.wh.config' } }], shows: without('etc/config') },
  { what: 'a whiteout with "./" before it', entries: [file('./etc/./.wh.config', '')], shows: without('etc/config') },
  { what: 'a whiteout by an absolute name', entries: [file('/etc/.wh.config', '')], shows: without('etc/config') },
  {
    what: 'a whiteout before a file of its name',
    entries: [file('etc/.wh.config', ''), file('etc/config', 'upper')],
    shows: { ...whole, 'etc/config': 'file upper' },
  },
  {
    what: 'a whiteout after a file of its name',
    entries: [file('etc/config', 'upper'), file('etc/.wh.config', '')],
    shows: { ...whole, 'etc/config': 'file upper' },
  },
  ...[
    [file('var/.wh.full', ''), dir('var/full'), file('var/full/new', 'upper')],
    [dir('var/full'), file('var/.wh.full', ''), file('var/full/new', 'upper')],
    [dir('var/full'), file('var/full/new', 'upper'), file('var/.wh.full', '')],
    [file('var/full/new', 'upper'), file('var/.wh.full', '')],
    [file('var/.wh.full', ''), file('var/full/new', 'upper')],
  ].map(
    (entries, order): VisibleLayer => ({
      what: `a whiteout of a directory that is made anew, in order ${order + 1}`,
      entries,
      shows: { 'var/full': 'directory new', 'var/full/a': 'nothing', 'var/full/sub': 'nothing', 'var/full/new': 'file upper' },
    }),
  ),
  {
    what: 'a whiteout of a directory that becomes a file',
    entries: [file('var/.wh.full', ''), file('var/full', 'upper')],
    shows: { 'var/full': 'file upper' },
  },
  { what: 'a file in a directory’s place', entries: [file('var/full', 'upper')], shows: { 'var/full': 'file upper' } },
  { what: 'a directory in a file’s place', entries: [dir('etc/config')], shows: { ...whole, 'etc/config': 'directory' } },
  {
    what: 'a directory over a link, which is no longer followed',
    entries: [dir('alias'), file('alias/new', 'upper')],
    shows: { ...whole, alias: 'directory new' },
  },
  {
    what: 'what aufs kept for itself',
    entries: [dir('.wh..wh.plnk'), file('.wh..wh.aufs', 'x')],
    shows: { ...whole, '.': 'directory alias etc pipe var' },
  },
];

const opaque: VisibleLayer[] = [
  ...[
    [file('var/full/.wh..wh..opq', ''), file('var/full/new', 'upper')],
    [file('var/full/new', 'upper'), file('var/full/.wh..wh..opq', '')],
    [dir('var/full'), file('var/full/.wh..wh..opq', ''), file('var/full/new', 'upper'), file('var/full/.wh..wh..opq', '')],
    [dir('var/full/.wh..wh..opq'), file('var/full/new', 'upper')],
  ].map(
    (entries, order): VisibleLayer => ({
      what: `an opaque directory, in order ${order + 1}`,
      entries,
      shows: { 'var/full': 'directory new', 'var/full/a': 'nothing', 'var/full/sub/b': 'nothing', 'etc/config': 'file lower' },
    }),
  ),
  {
    what: 'an opaque root',
    entries: [file('.wh..wh..opq', ''), file('alone', 'upper')],
    shows: { '.': 'directory alone', etc: 'nothing' },
  },
  {
    what: 'an opaque directory above the hidden one',
    entries: [file('var/.wh..wh..opq', '')],
    shows: { var: 'directory', 'var/full': 'nothing' },
  },
  {
    what: 'an opaque directory below, which hides nothing beside it',
    entries: [file('var/full/sub/.wh..wh..opq', '')],
    shows: { 'var/full': 'directory a sub', 'var/full/sub': 'directory' },
  },
  {
    what: 'an opaque mark on a directory that is not there',
    entries: [file('none/.wh..wh..opq', '')],
    shows: { ...whole, none: 'directory' },
  },
];

const ordinary: VisibleLayer[] = [
  { what: 'a device, which hides as a whiteout does', entries: [{ name: 'etc/config', type: '3' }], shows: without('etc/config') },
  { what: 'a block device of its own', entries: [{ name: 'sda', type: '4' }], shows: { ...whole, sda: 'nothing' } },
  { what: 'a set-id program', entries: [file('su', 'x', { mode: 0o6755 })], shows: { ...whole, su: 'file x (6755)' } },
  { what: 'a FIFO', entries: [{ name: 'etc/config', type: '6' }], shows: { ...whole, 'etc/config': 'fifo' } },
  {
    what: 'a link out of the layer, which is only a link',
    entries: [link('etc/config', '../../../../outside/secret')],
    shows: { ...whole, 'etc/config': 'link ../../../../outside/secret' },
  },
  {
    what: 'a file through the layer’s own link to a directory',
    entries: [dir('real'), link('by', '/real'), file('by/new', 'upper')],
    shows: { ...whole, real: 'directory new', by: 'link /real' },
  },
  {
    what: 'a hard link, which is the same file',
    entries: [file('one', 'x'), { name: 'two', type: '1', link: './/one' }],
    shows: { ...whole, one: 'file x', two: 'file x' },
  },
  {
    what: 'a file named like a whiteout’s second half',
    entries: [file('.wh', 'x'), file('.wh_config', 'y'), file('a.wh.b', 'z')],
    shows: { ...whole, '.wh': 'file x', '.wh_config': 'file y', 'a.wh.b': 'file z' },
  },
];

export const visibleLayers: readonly VisibleLayer[] = [...whiteouts, ...opaque, ...ordinary];
