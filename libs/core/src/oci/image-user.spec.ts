import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseContainerId, resolveUser } from './image-user.js';

const passwd = `# a comment
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001::/home/app:/bin/sh
app:x:2000:2000::/second:/bin/sh
wraps:x:4294967296:0::/:/bin/sh
negative:x:-1:0::/:/bin/sh
short:x
badgroup:x:5:99999::/:/bin/sh
1234:x:0:0::/:/bin/sh
`;
const group = `root:x:0:
app:x:1001:
staff:x:50:app,other
wheel:x:10:app
own:x:1001:app
huge:x:70000:
`;
const resolve = (text: string) => resolveUser(text, passwd, group);
const ids = (text: string) => {
  const result = resolve(text);
  return result.kind === 'ok' ? [result.user.uid, result.user.gid, ...result.user.additionalGids] : 'refused';
};

describe('the user of a container', () => {
  it.each([
    ['', [0, 0]],
    ['root', [0, 0]],
    ['app', [1000, 1001, 10, 50]],
    ['1000', [1000, 1001, 10, 50]],
    ['app:', [1000, 1001, 10, 50]],
    ['app:staff', [1000, 50]],
    ['app:7', [1000, 7]],
    ['7', [7, 0]],
    ['7:8', [7, 8]],
    [':50', [0, 50]],
    ['000', [0, 0]],
    ['65535:65535', [65_535, 65_535]],
  ])('%j is %j', (text, expected) => {
    expect(ids(text)).toEqual(expected);
  });

  it.each([
    'nobody-knows',
    'app:nogroup',
    'a:b:c',
    '65536',
    '4294967295',
    '4294967296',
    '18446744073709551616',
    '-1',
    '+1',
    '0x0',
    ' 0',
    '1:65536',
    'app:huge',
  ])('%j is refused', (text) => {
    expect(ids(text)).toBe('refused');
  });

  it.each(['wraps', 'negative', 'short', 'badgroup'])('%j is refused, because its entry is not usable', (text) => {
    expect(ids(text)).toBe('refused');
  });

  it('of digits is an id, whatever the image calls by those digits', () => {
    expect(ids('1234')).toEqual([1234, 0]);
  });

  it('has the home of its entry, or the root', () => {
    const home = (text: string, file = passwd) => {
      const result = resolveUser(text, file, group);
      return result.kind === 'ok' ? result.user.home : 'refused';
    };
    expect(home('app')).toBe('/home/app');
    expect(home('7')).toBe('/');
    expect(home('x', 'x:x:1:1::relative:')).toBe('/');
  });

  it('is never above the range of a container, and root only by a zero', () => {
    const field = fc.oneof(fc.constantFrom('0', '00', '-0', '65536', '1e3', '', ' ', '0x1', '4294967296'), fc.string({ maxLength: 4 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(field, field, field, field)), field, (entries, who) => {
        const file = entries.map(([name, uid, gid, home]) => `${name}:x:${uid}:${gid}::${home}:`).join('\n');
        const result = resolveUser(who, file, file);
        if (result.kind === 'refused') return;
        for (const id of [result.user.uid, result.user.gid, ...result.user.additionalGids]) {
          expect(Number.isInteger(id) && id >= 0 && id <= 65_535).toBe(true);
        }
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(parseContainerId(text) === 0).toBe(/^0{1,32}$/.test(text));
      }),
    );
  });
});
