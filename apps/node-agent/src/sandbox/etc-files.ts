import { chown, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { ContainerNetwork } from '../network/egress.js';

/** Where the container's own /etc files stand on the host. */
export interface EtcFiles {
  readonly resolvConf: string;
  readonly hosts: string;
  readonly hostname: string;
}

/** The host name of a run that names none: the first twelve characters of its id's random part. */
export function defaultHostname(runId: string): string {
  return runId.slice('run_'.length + 10, 'run_'.length + 22);
}

/** What /etc/hosts says; `address` is the container's own, loopback where it has no network. */
export function hostsText(hostname: string, address = '127.0.0.1'): string {
  return ['127.0.0.1\tlocalhost', '::1\tlocalhost ip6-localhost ip6-loopback', `${address}\t${hostname}`, ''].join('\n');
}

/** Nothing of the host's own resolver: a container without a network has no name server. */
export const noResolvers = '# This container has no network.\n';

/** Writes the three files into `directory`, owned by the container's root so that it may change them as in any container. */
export async function writeEtcFiles(
  directory: string,
  hostname: string,
  rootUid: number,
  network: ContainerNetwork | null,
): Promise<EtcFiles> {
  const files = { resolvConf: join(directory, 'resolv.conf'), hosts: join(directory, 'hosts'), hostname: join(directory, 'hostname') };
  const texts: readonly (readonly [string, string])[] = [
    [files.resolvConf, network === null ? noResolvers : network.resolvers.map((address) => `nameserver ${address}\n`).join('')],
    [files.hosts, hostsText(hostname, network?.address)],
    [files.hostname, `${hostname}\n`],
  ];
  await Promise.all(
    texts.map(async ([path, text]) => {
      await writeFile(path, text, { mode: 0o644 });
      await chown(path, rootUid, rootUid);
    }),
  );
  return files;
}
