import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { missingForContainers } from './testing/test-node.js';

const scenario = fileURLToPath(new URL('./testing/egress-scenario.js', import.meta.url));
const programs = new Map([
  ['nft', 'nftables'],
  ['ip', 'iproute2'],
]);

/** Targets of the scan that answer in any case where nothing bars the way. */
const forbidden = ['host', 'host6', 'hostEnd', 'private', 'metadata', 'unique6', 'denied', 'neighbour'] as const;

interface Findings {
  readonly error?: string;
  readonly agent?: string;
  /** What answered each try of a container, by target; '' for silence. With the rules, and with none but the change of addresses. */
  readonly guarded: Readonly<Record<string, string>>;
  readonly bare: Readonly<Record<string, string>>;
  readonly names: string;
  readonly none: string;
  readonly spoofed: boolean;
  readonly spoofedBare: boolean;
  readonly left: readonly unknown[];
  readonly problems: readonly string[];
  readonly tables: string;
  /** Rules after the death of the agent, and after a start of one without egress. */
  readonly tablesLeft: string;
  readonly tablesOff: string;
  /** Interfaces of the host at the end. */
  readonly links: number;
}

const absent = [...programs].find(([program]) => findProgram(program) === null)?.[1];
const missing = missingForContainers() ?? (absent === undefined ? null : `needs ${absent}`);

describe.skipIf(missing !== null)(`containers that may reach out${missing === null ? '' : ` (${missing})`}`, () => {
  let findings: Findings;
  beforeAll(async () => {
    const { stdout } = await promisify(execFile)('unshare', ['--net', process.execPath, scenario], { timeout: 200_000 });
    findings = JSON.parse(stdout) as Findings;
    expect(findings.error, findings.agent).toBeUndefined();
  }, 240_000);

  it("reach the outside by IPv4 and IPv6, under the host's address", () => {
    expect(findings.guarded.outside).toMatch(/^you are 203\.0\.113\.2,/);
    expect(findings.guarded.outside6).toMatch(/^you are 2001:db8:1::2,/);
  });

  it('find names by the name servers that the operator gave', () => {
    expect(findings.names).toBe('1\nnameserver 203.0.113.1\n');
  });

  it.each(forbidden)('never reach %s, which answers where the rules are not', (target) => {
    expect(findings.guarded[target]).toBe('');
    expect(findings.bare[target]).not.toBe('');
  });

  it('cannot send under an address that is not theirs, as they could without the rules', () => {
    expect(findings.spoofed).toBe(false);
    expect(findings.spoofedBare).toBe(true);
  });

  it('are those that ask for it alone', () => {
    expect(findings.none).toBe('1\n');
  });

  it('lose their rules to the next agent where it is started without egress', () => {
    expect(findings.tablesLeft).toMatch(/^table inet berth_b/);
    expect(findings.tablesOff).toBe('');
  });

  it('leave no link, no rule and nothing else', () => {
    expect(findings.left).toEqual([]);
    expect(findings.problems).toEqual([]);
    expect(findings.tables).toBe('');
    // Its loopback and its way to the outside.
    expect(findings.links).toBe(2);
  });
});

function findProgram(name: string): string | null {
  const folders = `${process.env.PATH}:/usr/sbin:/sbin`.split(':');
  return folders.map((folder) => `${folder}/${name}`).find((path) => existsSync(path)) ?? null;
}
