/** The platforms that Berth runs, named as in OCI: operating system and architecture. */
export type Platform = 'linux/amd64' | 'linux/arm64';

/** The platform of this process. Throws on a machine whose architecture Berth does not run. */
export function hostPlatform(arch: string = process.arch): Platform {
  if (arch === 'x64') return 'linux/amd64';
  if (arch === 'arm64') return 'linux/arm64';
  throw new Error(`Berth runs on amd64 and arm64, not on ${arch}`);
}
