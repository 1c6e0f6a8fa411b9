/**
 * Archives that somebody made to do harm, each with what must come of it, as data: whatever turns a layer into a filesystem (a directory, an EROFS image) gives
 * the same answers. `visible-layers.ts` holds those that are legal and say what a container then sees.
 */
import { END, paxRecords, type RawEntry, rawEntry, rawTar } from './raw-tar.js';

export interface HostileLayer {
  readonly what: string;
  readonly tar: Buffer | (() => Iterable<Buffer>);
  /** What the layer may have; the program's own limits where it is silent. */
  readonly limits?: { readonly bytes?: number; readonly entries?: number };
  /** The error code of the refusal. */
  readonly refusal: 'layerRejected' | 'tooLarge';
}

const dir = (name: string, more: Partial<RawEntry> = {}): RawEntry => ({ name, type: '5', mode: 0o755, ...more });

/** Symbolic links l0 -> l1 -> ... -> l0. */
const linkRing = (count: number): RawEntry[] =>
  Array.from({ length: count }, (_, index): RawEntry => ({ name: `l${index}`, type: '2', link: `l${(index + 1) % count}` }));

/** As many entries as somebody has the patience to send, made while they are sent. */
function* millions(make: (index: number) => RawEntry, perChunk = 200): Generator<Buffer> {
  for (let index = 0; index < 5_000_000; index += perChunk) {
    yield Buffer.concat(Array.from({ length: perChunk }, (_, more) => rawEntry(make(index + more))));
  }
}

/** A file whose stated size no disk holds, sent until nobody reads on. */
function* endless(): Generator<Buffer> {
  yield rawEntry({ name: 'f', size: 2 ** 32 });
  for (let index = 0; index < 2 ** 16; index++) yield Buffer.alloc(65_536, 'z');
}

/** Ways out of the layer's own directory. `../outside/secret` and `../beside` are files that must never be touched. */
const traversal: [string, RawEntry[]][] = [
  ['".." in a name', [{ name: '../beside', content: 'evil' }]],
  ['".." in the middle of a name', [{ name: 'a/../../outside/secret', content: 'evil' }]],
  ['".." in a pax name', [{ name: 'x', content: 'evil', pax: { path: '../outside/secret' } }]],
  [
    '".." in a GNU name',
    [
      { name: 'L', type: 'L', content: '../outside/secret\0' },
      { name: 'x', content: 'evil' },
    ],
  ],
  ['".." in the prefix', [{ name: 'secret', prefix: '../outside', content: 'evil' }]],
  ['".." at the end of a directory', [dir('a/..')]],
  [
    'a file through a link that climbs',
    [
      { name: 'up', type: '2', link: '../outside' },
      { name: 'up/secret', content: 'evil' },
    ],
  ],
  [
    'a file through a dangling link',
    [
      { name: 'd', type: '2', link: '/nowhere' },
      { name: 'd/x', content: 'evil' },
    ],
  ],
  [
    'a file through a link to itself',
    [
      { name: 'loop', type: '2', link: 'loop' },
      { name: 'loop/x', content: 'evil' },
    ],
  ],
  [
    'a file through a link into /proc',
    [
      { name: 'p', type: '2', link: '/proc/self/cwd' },
      { name: 'p/x', content: 'evil' },
    ],
  ],
  ['a directory through a link that climbs', [{ name: 'up', type: '2', link: '../outside' }, dir('up/made', { mode: 0o777 })]],
  ['a whiteout through a link that climbs', [{ name: 'up', type: '2', link: '../outside' }, { name: 'up/.wh.secret' }]],
  ['an opaque mark through a link that climbs', [{ name: 'up', type: '2', link: '../outside' }, { name: 'up/.wh..wh..opq' }]],
  ['a hard link to ".."', [{ name: 'h', type: '1', link: '../outside/secret' }]],
  [
    'a hard link through a link that climbs',
    [
      { name: 'up', type: '2', link: '../outside' },
      { name: 'h', type: '1', link: 'up/secret' },
    ],
  ],
  ['a hard link to an absolute path of the host', [{ name: 'h', type: '1', link: '/etc/passwd' }]],
  ['a hard link to a directory', [dir('a'), { name: 'h', type: '1', link: 'a' }]],
  ['a hard link to the root', [{ name: 'h', type: '1', link: '/' }]],
  ['a hard link to a whiteout', [{ name: '.wh.w' }, { name: 'h', type: '1', link: 'w' }]],
  ['a hard link into what it replaces', [dir('a'), { name: 'a/f' }, { name: 'a', type: '1', link: 'a/f' }]],
  ['a file beneath a file', [{ name: 'f' }, { name: 'f/x', content: 'evil' }]],
  ['the root as a file', [{ name: './', type: '0', pax: { path: '.' } }]],
  ['the root as a link', [{ name: '/', type: '2', link: '../outside' }]],
  ['a whiteout of "."', [{ name: '.wh..' }]],
  ['a whiteout of ".."', [{ name: 'a/.wh...' }]],
  ['a whiteout of nothing', [{ name: '.wh.' }]],
  ['an entry beneath a whiteout', [{ name: '.wh.x/y', content: 'evil' }]],
  ['an empty link', [{ name: 'l', type: '2', link: '' }]],
];

/** Archives that two readers would read differently, and attributes that speak to the host. */
const malformed: [string, Buffer][] = [
  ['no archive at all', Buffer.alloc(5000, 'x')],
  ['a cut header', rawEntry({ name: 'a' }).subarray(0, 300)],
  ['a cut file', rawEntry({ name: 'a', content: Buffer.alloc(5000) }).subarray(0, 2000)],
  ['a wrong checksum', Buffer.from(rawTar({ name: 'a' })).fill('7', 148, 154)],
  ['a size beyond the input', rawTar({ name: 'a', size: 1_000_000 })],
  ['a negative size', rawTar({ name: 'a', patch: (header) => header.fill(0xff, 124, 136) })],
  ['a size beyond 64 bits', rawTar({ name: 'a', patch: (header) => Buffer.from('80ffffffffffffffffffffff', 'hex').copy(header, 124) })],
  ['a number that is none', rawTar({ name: 'a', patch: (header) => header.write('12x4567', 100, 'latin1') })],
  ['the id that means none', rawTar({ name: 'a', patch: (header) => Buffer.from('80000000ffffffff', 'hex').copy(header, 108) })],
  ['an unknown type', rawTar({ name: 'a', type: 'V' })],
  ['a sparse file', rawTar({ name: 'a', type: 'S' })],
  [
    'a sparse giant of terabytes in GNU’s form',
    rawTar({ name: 'a', type: 'S', content: 'x', patch: (header) => header.write('77777777777\0', 483, 'latin1') }),
  ],
  ['a sparse giant of terabytes in pax form', rawTar({ name: 'a', content: 'x', pax: { 'GNU.sparse.realsize': `${2n ** 43n}` } })],
  ['a continued volume', rawTar({ name: 'a', type: 'M', content: 'x' })],
  ['a volume’s name', rawTar({ name: 'a', type: 'V' }, { name: 'a' })],
  ['a directory dump', rawTar({ name: 'a', type: 'D' })],
  ['a hard link before what it names', rawTar({ name: 'h', type: '1', link: 'f' }, { name: 'f', content: 'x' })],
  ['a chain of links without end', rawTar(...linkRing(45), { name: 'l0/x', content: 'evil' })],
  ['a sparse file in pax', rawTar({ name: 'a', pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0' } })],
  ['a directory with content', rawTar({ name: 'a', type: '5', content: 'x' })],
  ['an entry after the end', Buffer.concat([Buffer.alloc(512), rawTar({ name: 'a' })])],
  ['an extended header and no entry', Buffer.concat([rawEntry({ name: 'x', type: 'x', content: paxRecords({ path: 'a' }) }), END])],
  ['two extended headers', rawTar({ name: 'x', type: 'x', content: paxRecords({ path: 'a' }) }, { name: 'a', pax: { path: 'b' } })],
  ['a global path', rawTar({ name: 'g', type: 'g', content: paxRecords({ path: 'b' }) }, { name: 'a' })],
  ['NUL in a pax path', rawTar({ name: 'a', pax: { path: 'b\0c' } })],
  ['a name of 256 bytes', rawTar({ name: 'a', pax: { path: 'x'.repeat(256) } })],
  ...['5 a=', '99 path=x\n', '0 a=b\n', ' a=b\n', '-6 a=b\n', '7 =bcd\n', '18446744073709551622 a=b\n', '6 abcd\n'].map(
    (text): [string, Buffer] => [`the pax record ${JSON.stringify(text)}`, rawTar({ name: 'x', type: 'x', content: text }, { name: 'a' })],
  ),
  ...[
    'trusted.overlay.redirect',
    'trusted.overlay.opaque',
    'trusted.x',
    'security.selinux2',
    'security.ima',
    'system.posix_acl_access',
    'user.overlay.opaque',
    '',
  ].map((name): [string, Buffer] => [
    `the attribute ${JSON.stringify(name)}`,
    rawTar({ name: 'a', pax: { [`SCHILY.xattr.${name}`]: 'y' } }),
  ]),
];

/** What would fill a disk, a memory or an afternoon. */
const excessive: [string, HostileLayer['tar'], HostileLayer['limits']?][] = [
  ['more bytes than allowed', rawTar({ name: 'a', content: Buffer.alloc(2000) }), { bytes: 1999 }],
  ['a size beyond all disks', rawTar({ name: 'a', pax: { size: `${2n ** 62n}` } })],
  ['more entries than allowed', rawTar({ name: 'a' }, { name: 'b' }, { name: 'c' }), { entries: 2 }],
  ['more implied directories than entries allowed', rawTar({ name: 'a/b/c/d/e/f' }), { entries: 4 }],
  [
    'an endless row of extended headers',
    Buffer.concat(Array.from({ length: 50 }, () => rawEntry({ name: 'g', type: 'g', content: paxRecords({ comment: 'x' }) }))),
    { entries: 40 },
  ],
  ['an extended header of megabytes', rawTar({ name: 'x', type: 'x', content: Buffer.alloc(2 * 1024 * 1024, 'x') })],
  ['a path of 5000 bytes', rawTar({ name: 'x', pax: { path: Array.from({ length: 50 }, () => 'y'.repeat(100)).join('/') } })],
  ['a tree 300 deep', rawTar({ name: 'x', pax: { path: Array.from({ length: 300 }, () => 'y').join('/') } })],
  [
    'a hundred attributes',
    rawTar({ name: 'a', pax: Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`SCHILY.xattr.user.${index}`, 'v'])) }),
  ],
  [
    'more attributes than a file has room for',
    rawTar({
      name: 'a',
      pax: Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`SCHILY.xattr.user.${index}`, Buffer.alloc(60_000, 'v')])),
    }),
  ],
  [
    'an extended header whose size is terabytes',
    rawTar({ name: 'x', type: 'x', patch: (header) => header.write('77777777777 ', 124, 'latin1') }),
  ],
  ['a long name of megabytes', rawTar({ name: 'L', type: 'L', content: Buffer.alloc(2 << 20, 'n') }, { name: 'a' })],
  ['a link target of 5000 bytes', rawTar({ name: 'a', type: '2', pax: { linkpath: 'y/'.repeat(2500) } })],
  ['an attribute of 70000 bytes', rawTar({ name: 'a', pax: { 'SCHILY.xattr.user.big': Buffer.alloc(70_000, 'v') } })],
  ['millions of files', () => millions((index) => ({ name: `f${index}` })), { entries: 2000 }],
  ['millions of whiteouts', () => millions((index) => ({ name: `.wh.${index}` })), { entries: 2000 }],
  [
    'millions of names of one file',
    () => millions((index) => (index === 0 ? { name: 'f' } : { name: `n${index}`, type: '1', link: 'f' })),
    { entries: 2000 },
  ],
  ['millions of changes of one file', () => millions(() => ({ name: 'f' })), { entries: 2000 }],
  [
    'millions of attributes’ bytes',
    () => millions(() => ({ name: 'f', pax: { 'SCHILY.xattr.user.big': Buffer.alloc(50_000, 'v') } }), 4),
    { bytes: 4_000_000 },
  ],
  ['a file without an end', () => endless(), { bytes: 4_000_000 }],
  ['bytes after the end beyond all measure', Buffer.concat([rawTar({ name: 'a' }), Buffer.alloc(300_000)]), { bytes: 200_000 }],
];

export const hostileLayers: readonly HostileLayer[] = [
  ...traversal.map(([what, entries]): HostileLayer => ({ what, tar: rawTar(...entries), refusal: 'layerRejected' })),
  ...malformed.map(([what, tar]): HostileLayer => ({ what, tar, refusal: 'layerRejected' })),
  ...excessive.map(([what, tar, limits = {}]): HostileLayer => ({ what, tar, limits, refusal: 'tooLarge' })),
];
