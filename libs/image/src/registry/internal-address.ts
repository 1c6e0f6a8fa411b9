import { BlockList, isIP } from 'node:net';

// IANA's special-purpose registries: whatever is not for the public internet.
const internalV4 = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  internalV4.addSubnet(network, bits, 'ipv4');

// Only 2000::/3 is global unicast; within it, these tunnel to other addresses or are for documentation.
const globalV6 = new BlockList();
globalV6.addSubnet('2000::', 3, 'ipv6');
const internalV6 = new BlockList();
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const)
  internalV6.addSubnet(network, bits, 'ipv6');

/**
 * True for an IP address that is not on the public internet: loopback, private, link-local (cloud metadata among them), shared, multicast,
 * reserved, and every IPv6 form that embeds an IPv4 address. Anything that is no IP address counts as internal.
 */
export function isInternalAddress(address: string): boolean {
  const bare = address.split('%', 1)[0] ?? '';
  switch (isIP(bare)) {
    case 4:
      return internalV4.check(bare, 'ipv4');
    case 6:
      return !globalV6.check(bare, 'ipv6') || internalV6.check(bare, 'ipv6');
    default:
      return true;
  }
}
