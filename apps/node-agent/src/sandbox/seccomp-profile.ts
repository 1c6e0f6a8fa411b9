import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { OciSeccomp } from '@berth/core';

/** Berth's seccomp profile, as `linux.seccomp` of a config.json. Throws when it is missing or allows by default: no container runs without it. */
export async function loadSeccompProfile(nativeDir: string): Promise<OciSeccomp> {
  const path = join(nativeDir, '..', 'seccomp', 'default.json');
  const profile = JSON.parse(await readFile(path, 'utf8')) as OciSeccomp;
  const action = profile.defaultAction;
  if (action !== 'SCMP_ACT_ERRNO' && !String(action).startsWith('SCMP_ACT_KILL')) {
    throw new Error(`${path} does not deny by default`);
  }
  return profile;
}
