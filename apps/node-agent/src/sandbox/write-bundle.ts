import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AccountFiles, buildConfig, type ContainerProcess, type IdRange, type OciSeccomp, resolveProcess } from '@berth/core';
import type { ImageConfig } from '@berth/image';
import type { RunSpec } from '@berth/wire';
import { AttemptFailure } from '../attempts/attempt-failure.js';
import type { HostFacts } from '../host/host-facts.js';
import type { ContainerNetwork } from '../network/egress.js';
import { defaultHostname, writeEtcFiles } from './etc-files.js';
import { RootedFileRefused, readInRoot } from './rooted-file.js';

const accountFileBytes = 1024 * 1024;

export interface BundlePlan {
  readonly id: string;
  readonly runId: string;
  readonly spec: RunSpec;
  readonly image: ImageConfig;
  readonly rootfs: string;
  readonly ids: IdRange;
  readonly cgroupsPath: string;
  /** The folder to write into; it exists. */
  readonly directory: string;
  readonly initProgram: string;
  readonly seccomp: OciSeccomp;
  readonly host: HostFacts;
  /** See `NodeRuntime`. */
  readonly ownPids: number;
  /** Null: loopback alone. */
  readonly network: ContainerNetwork | null;
}

/** Writes an OCI bundle. Returns the process that it describes. Throws AttemptFailure for what image or run cannot have. */
export async function writeBundle(plan: BundlePlan): Promise<ContainerProcess> {
  const hostname = plan.spec.hostname ?? defaultHostname(plan.runId);
  const [accounts, files] = await Promise.all([
    readAccounts(plan.rootfs),
    writeEtcFiles(plan.directory, hostname, plan.ids.base, plan.network),
  ]);
  const result = resolveProcess(plan.image, plan.spec, accounts, hostname);
  if (result.kind === 'refused') throw AttemptFailure.refused(result.reason);
  const config = buildConfig({
    id: plan.id,
    process: result.process,
    hostname,
    rootfs: plan.rootfs,
    readOnlyRootfs: plan.spec.readOnlyRootfs,
    ids: plan.ids,
    limits: { ...plan.spec.resources, pids: plan.spec.resources.pids + plan.ownPids },
    cgroupsPath: plan.cgroupsPath,
    files,
    init: plan.spec.init ? plan.initProgram : null,
    seccomp: plan.seccomp,
    networkHook: plan.network?.hook ?? null,
    maxOpenFiles: plan.host.maxOpenFiles,
    swapAccounting: plan.host.swapAccounting,
  });
  await writeFile(join(plan.directory, 'config.json'), JSON.stringify(config), { mode: 0o600 });
  return result.process;
}

async function readAccounts(rootfs: string): Promise<AccountFiles> {
  try {
    const [passwd, group] = await Promise.all(['/etc/passwd', '/etc/group'].map((path) => readInRoot(rootfs, path, accountFileBytes)));
    return { passwd: passwd ?? '', group: group ?? '' };
  } catch (error) {
    if (error instanceof RootedFileRefused) throw AttemptFailure.refused(error.message, { cause: error });
    throw error;
  }
}
