import { idSlots } from '@berth/core';

/*
 * The network of containers that may reach out: to each a link of its own, whose other end is this host, and one table of rules about all of these
 * links. Pure: what to set, not the setting of it. INVARIANTS of the rules:
 *   - a packet from a container with any source address but its own is dropped;
 *   - nothing from a container reaches this host itself, another container, or an address that is nobody's business outside: private, link-local, metadata,
 *     multicast, and what the operator or this agent adds;
 *   - towards a container go answers alone;
 *   - what leaves bears this host's address.
 * The rules name links by their prefix, so a container that comes or goes changes none.
 */

/** An address with the length of its network's prefix, as `10.0.0.1/30`. */
export interface LinkAddresses {
  readonly name: string;
  readonly host: string;
  readonly container: string;
  /** Null where this machine has no IPv6. */
  readonly host6: string | null;
  readonly container6: string | null;
}

export interface EgressPlan {
  /** Of this node's links and its table. */
  readonly prefix: string;
  /** First address of the /18 from which links have theirs: four to each slot of ids. */
  readonly subnet: string;
  readonly ipv6: boolean;
  /** Name servers that containers may ask. */
  readonly resolvers: readonly string[];
  /** Networks (ADDRESS or ADDRESS/LENGTH) that containers may reach although they are private. */
  readonly allowed: readonly string[];
  /** Networks that they may not reach although they are public; this wins. */
  readonly denied: readonly string[];
}

export const linkPrefixLength = 18;
const perLink = 4;
const subnet6 = 'fd42:6265:7274:68::';

/** Networks that are not the outside (IANA's special-purpose registries), and those through which the others could be reached. */
const notOutside4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
];
const notOutside6 = ['::/8', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/32', '2002::/16', 'fc00::/7', 'fe80::/9', 'ff00::/8'];

/** The link of a slot. Throws RangeError for a slot that there is not. */
export function linkOf(plan: Pick<EgressPlan, 'prefix' | 'subnet' | 'ipv6'>, slot: number): LinkAddresses {
  if (!Number.isInteger(slot) || slot < 0 || slot >= idSlots) throw new RangeError(`there is no slot ${slot}`);
  const first = addressNumber(plan.subnet) + slot * perLink;
  const first6 = slot * perLink;
  return {
    name: `${plan.prefix}${slot.toString(16).padStart(3, '0')}`,
    host: `${addressText(first + 1)}/30`,
    container: `${addressText(first + 2)}/30`,
    host6: plan.ipv6 ? `${subnet6}${(first6 + 1).toString(16)}/126` : null,
    container6: plan.ipv6 ? `${subnet6}${(first6 + 2).toString(16)}/126` : null,
  };
}

/** The name of a node's table. */
export function tableOf(prefix: string): string {
  return `berth_${prefix}`;
}

/** The rules as nft(8) reads them; they replace those of before in one transaction of the kernel's. */
export function rulesOf(plan: EgressPlan): string {
  const table = tableOf(plan.prefix);
  const links = `"${plan.prefix}*"`;
  const set = (name: string, type: string, elements: readonly string[]): string =>
    `  set ${name} { type ${type}; flags interval; auto-merge;${elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} };`} }`;
  const sets = (name: string, networks: readonly string[]): string[] => [
    set(
      `${name}4`,
      'ipv4_addr',
      networks.filter((network) => !network.includes(':')),
    ),
    set(
      `${name}6`,
      'ipv6_addr',
      networks.filter((network) => network.includes(':')),
    ),
  ];
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    ...sets('resolvers', plan.resolvers),
    ...sets('allowed', plan.allowed),
    ...sets('denied', plan.denied),
    ...sets('not_outside', [...notOutside4, ...notOutside6]),
    '  chain sources {',
    '    type filter hook prerouting priority raw; policy accept;',
    `    iifname ${links} fib saddr . iif oif eq 0 drop`,
    '  }',
    '  chain to_host {',
    '    type filter hook input priority -10; policy accept;',
    `    iifname ${links} icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept`,
    `    iifname ${links} drop`,
    '  }',
    '  chain through {',
    '    type filter hook forward priority -10; policy accept;',
    `    iifname ${links} jump from_container`,
    `    oifname ${links} ct state established,related accept`,
    `    oifname ${links} drop`,
    '  }',
    '  chain from_container {',
    `    oifname ${links} drop`,
    '    ct state established,related accept',
    '    ct state invalid drop',
    ...['4', '6'].flatMap((version) => [
      `    ${ip(version)} daddr @resolvers${version} meta l4proto { tcp, udp } th dport 53 accept`,
      `    ${ip(version)} daddr @denied${version} reject with ${icmp(version)} admin-prohibited`,
      `    ${ip(version)} daddr @allowed${version} accept`,
      `    ${ip(version)} daddr @not_outside${version} reject with ${icmp(version)} admin-prohibited`,
    ]),
    '  }',
    '  chain leaving {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    ip saddr ${plan.subnet}/${linkPrefixLength} oifname != ${links} masquerade`,
    `    ip6 saddr ${subnet6}/64 oifname != ${links} masquerade`,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Whether a network, as `10.213.0.0/18`, has just the size that all slots of ids take. */
export function isLinkSubnet(network: string): boolean {
  const [first = '', length] = network.split('/');
  return Number(length) === linkPrefixLength && addressNumber(first) % (idSlots * perLink) === 0;
}

function ip(version: string): string {
  return version === '4' ? 'ip' : 'ip6';
}

function icmp(version: string): string {
  return version === '4' ? 'icmp type' : 'icmpv6 type';
}

function addressNumber(text: string): number {
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function addressText(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}
