/*
 * The part of the OCI runtime specification's config.json (github.com/opencontainers/runtime-spec, version 1.0.2) that Berth writes. Field names
 * and units are the specification's.
 */

export type NamespaceType = 'pid' | 'mount' | 'uts' | 'ipc' | 'network' | 'user' | 'cgroup';

export interface OciMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface OciRlimit {
  readonly type: string;
  readonly soft: number;
  readonly hard: number;
}

export interface OciProcess {
  readonly terminal: false;
  readonly user: { readonly uid: number; readonly gid: number; readonly umask: number; readonly additionalGids: readonly number[] };
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly capabilities: Readonly<Record<'bounding' | 'effective' | 'permitted', readonly string[]>>;
  readonly rlimits: readonly OciRlimit[];
  readonly noNewPrivileges: true;
  readonly oomScoreAdj: number;
}

export interface OciDeviceRule {
  readonly allow: boolean;
  readonly type?: 'c' | 'b' | 'a';
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

export interface OciResources {
  readonly devices: readonly OciDeviceRule[];
  /** Bytes; `swap` counts memory and swap together, and is absent where the host counts no swap. */
  readonly memory: { readonly limit: number; readonly swap?: number };
  /** Microseconds of cpu time a period, and the period. */
  readonly cpu: { readonly shares: number; readonly quota: number; readonly period: number };
  readonly pids: { readonly limit: number };
}

export interface OciIdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** `linux.seccomp` as the specification has it. Berth carries it from its own profile to the runtime and reads none of it. */
export type OciSeccomp = Readonly<Record<string, unknown>>;

export interface OciHook {
  /** Absolute. */
  readonly path: string;
  readonly args: readonly string[];
  /** Seconds. */
  readonly timeout: number;
}

export interface OciConfig {
  readonly ociVersion: string;
  readonly process: OciProcess;
  readonly root: { readonly path: string; readonly readonly: boolean };
  readonly hostname: string;
  readonly mounts: readonly OciMount[];
  readonly hooks?: { readonly createRuntime: readonly OciHook[] };
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: {
    readonly namespaces: readonly { readonly type: NamespaceType }[];
    readonly uidMappings: readonly OciIdMapping[];
    readonly gidMappings: readonly OciIdMapping[];
    readonly cgroupsPath: string;
    readonly resources: OciResources;
    readonly rootfsPropagation: 'rprivate';
    readonly seccomp: OciSeccomp;
    readonly maskedPaths: readonly string[];
    readonly readonlyPaths: readonly string[];
  };
}
