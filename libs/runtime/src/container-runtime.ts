/** The states of the OCI runtime specification ("State"); not those of a run. */
export type ContainerState = 'creating' | 'created' | 'running' | 'stopped';

export interface ContainerStatus {
  readonly id: string;
  readonly state: ContainerState;
  /** The first process on the host; 0 once stopped. */
  readonly pid: number;
  readonly bundle: string;
}

/** The runtime refused or failed. `message` is its own last line, which may name paths of this machine. */
export class RuntimeError extends Error {
  override readonly name = 'RuntimeError';
}

/**
 * The operations of an OCI runtime (runtime-spec, "Operations") on the containers of one root directory. Any conforming runtime can stand behind it.
 * Each throws RuntimeError when the runtime refuses.
 */
export abstract class ContainerRuntime {
  /** Makes the container of a bundle: namespaces, cgroup and mounts exist then, and its process waits for `start`. */
  abstract create(id: string, bundle: string): Promise<void>;

  abstract start(id: string): Promise<void>;

  /** The ids of all containers that the runtime holds. */
  abstract list(): Promise<readonly string[]>;

  /** Null for a container that the runtime does not know. */
  abstract state(id: string): Promise<ContainerStatus | null>;

  /** Sends a signal to the first process, or with `all` to every process of the container. */
  abstract kill(id: string, signal: number, options?: { readonly all?: boolean }): Promise<void>;

  /** Holds all processes of a container where they are, until `resume`. */
  abstract pause(id: string): Promise<void>;

  abstract resume(id: string): Promise<void>;

  /** Removes what the runtime holds of a container, its cgroup included. With `force` it is killed first, and an unknown one is no error. */
  abstract delete(id: string, options?: { readonly force?: boolean }): Promise<void>;
}
