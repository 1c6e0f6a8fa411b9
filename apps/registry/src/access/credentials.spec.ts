import { describe, expect, it } from 'vitest';
import { presentedSecret } from './credentials.js';

const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString('base64')}`;

describe('the presented secret', () => {
  it('is the password of Basic, whoever the user is', () => {
    expect(presentedSecret(basic('anyone:berth_x'))).toBe('berth_x');
    expect(presentedSecret(basic(':berth_x'))).toBe('berth_x');
    expect(presentedSecret(basic('a:b:c'))).toBe('b:c');
    expect(presentedSecret(`basic  ${Buffer.from('u:p').toString('base64')}`)).toBe('p');
  });

  it('is the token of Bearer', () => {
    expect(presentedSecret('Bearer bpull_a.b-_')).toBe('bpull_a.b-_');
    expect(presentedSecret('bearer berth_x')).toBe('berth_x');
  });

  it.each([undefined, '', 'Basic', 'Bearer ', 'Digest abc', basic('nocolon'), 'Bearer a b', 'Bearer a\nb'])('is none in %j', (header) => {
    expect(presentedSecret(header)).toBeNull();
  });
});
