import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isLinkSubnet, linkOf, rulesOf } from './egress-plan.js';

const plan = { prefix: 'bnode0001', subnet: '10.213.0.0', ipv6: true, resolvers: ['9.9.9.9'], allowed: [], denied: ['192.0.2.1'] };

describe('the links of containers', () => {
  it('have addresses and names of their own', () => {
    expect(linkOf(plan, 0)).toEqual({
      name: 'bnode0001000',
      host: '10.213.0.1/30',
      container: '10.213.0.2/30',
      host6: 'fd42:6265:7274:68::1/126',
      container6: 'fd42:6265:7274:68::2/126',
    });
    expect(linkOf({ ...plan, ipv6: false }, 4095)).toMatchObject({ name: 'bnode0001fff', container: '10.213.63.254/30', container6: null });
    const slot = fc.integer({ min: 0, max: 4095 });
    fc.assert(
      fc.property(slot, slot, (a, b) => {
        fc.pre(a !== b);
        const [one, other] = [linkOf(plan, a), linkOf(plan, b)];
        const all = [one, other].flatMap((link) => [link.name, link.host, link.container, link.host6, link.container6]);
        expect(new Set(all).size).toBe(10);
        expect(one.name.length).toBeLessThan(16);
      }),
    );
    expect(() => linkOf(plan, 4096)).toThrow(RangeError);
  });

  it.each([
    ['10.213.0.0/18', true],
    ['172.30.64.0/18', true],
    ['10.213.0.0/16', false],
    ['10.213.1.0/18', false],
  ])('come from a subnet of their number: %s', (subnet, fits) => {
    expect(isLinkSubnet(subnet)).toBe(fits);
  });
});

describe('the rules', () => {
  it('replace those of before, name servers and networks sorted by their family', () => {
    const rules = rulesOf({ ...plan, resolvers: ['9.9.9.9', '2620:fe::fe'], allowed: ['10.1.0.0/16'] });
    expect(rules.split('\n').slice(0, 3)).toEqual([
      'table inet berth_bnode0001',
      'delete table inet berth_bnode0001',
      'table inet berth_bnode0001 {',
    ]);
    expect(rules).toContain('set resolvers6 { type ipv6_addr; flags interval; auto-merge; elements = { 2620:fe::fe }; }');
    expect(rules).toContain('set allowed4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.1.0.0/16 }; }');
    expect(rules).toContain('set allowed6 { type ipv6_addr; flags interval; auto-merge; }');
  });
});
