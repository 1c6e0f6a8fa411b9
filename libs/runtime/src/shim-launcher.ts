/** One container to start; the units and meanings are those of berth-shim's options (docs/contracts.md). */
export interface ShimLaunch {
  readonly id: string;
  /** Absolute path of the OCI runtime, and where it keeps its state. */
  readonly runtime: string;
  readonly runtimeRoot: string;
  /** What stands before the verb on the runtime's command line. */
  readonly runtimeArguments: readonly string[];
  readonly bundle: string;
  /** An empty directory, 0700, for the shim's files. */
  readonly directory: string;
  readonly cgroupsPath: string;
  readonly timeoutMs: number;
  readonly stopGraceMs: number;
  readonly stopSignal: number;
  readonly logMaxBytes: number;
  /** The node's page of T_stop; null when this container outlives a lost connection. */
  readonly leaseFile: string | null;
}

export interface ShimStarted {
  /** The container's first process on the host; 0 when it has ended already. */
  readonly pid: number;
  /** RFC 3339 in UTC. */
  readonly startedAt: string;
}

/** The container did not start, and nothing of it is left. `message` is the runtime's. */
export class ShimLaunchError extends Error {
  override readonly name = 'ShimLaunchError';
}

/** Starts containers, each under a shim that outlives this process. */
export abstract class ShimLauncher {
  /** Resolves once the container's process runs. Throws ShimLaunchError. */
  abstract launch(launch: ShimLaunch): Promise<ShimStarted>;

  /**
   * Makes a container that waits for its claim; resolves once it does, and `ParkedShim.hold` is the next thing to do. Throws ShimLaunchError. Of `launch`,
   * what a claim says anew does not matter.
   */
  abstract park(launch: ShimLaunch, how: 'root' | 'bare'): Promise<void>;

  /** Ends what this holds; the containers live on. */
  abstract close(): Promise<void>;
}
