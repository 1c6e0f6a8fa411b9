import type { LayerForm } from '../content/layer-program.js';

/** A layer as a snapshotter needs it; a `PulledLayer` is one. */
export interface SnapshotLayer {
  readonly diffId: string;
  /** Absolute path of its image or its tree. */
  readonly path: string;
  readonly form: LayerForm;
}

/** The range of host ids that stand for the container's ids 0 to `uidCount - 1`; groups likewise. */
export interface SnapshotIds {
  readonly uidBase: number;
  readonly uidCount: number;
}

/** A container's filesystem, as `list` finds it. */
export interface SnapshotRecord {
  readonly key: string;
  /** Diff ids of its layers, lowest first: what garbage collection must keep. */
  readonly layers: readonly string[];
  /** False when a crash or a reboot left it unmounted; such a snapshot can only be removed. */
  readonly mounted: boolean;
}

/**
 * Gives each container a root filesystem of its own over shared read-only layers.
 *
 * A snapshot is named by a key of the caller's (the container's id) and has one writable, private upper layer. Nothing that a container
 * writes reaches a layer. Snapshots survive the process: a restarted agent finds them by `list`.
 *
 * Every implementation passes `snapshotterSuite`.
 */
export abstract class Snapshotter {
  /**
   * Mounts a fresh root filesystem and returns its absolute path. Layers are lowest first. With `ids`, the container's root (host id `uidBase`)
   * owns what the image gives to id 0 and may write, delete, and chown within its range; without, ids are the host's own.
   * Asking again for a key that is mounted with the same layers and ids returns it as it is; one that a crash left half-made is made anew.
   * Throws when the host cannot give what is asked (no idmapped mounts on this filesystem, too many layers), and leaves nothing behind then.
   */
  abstract prepare(key: string, layers: readonly SnapshotLayer[], ids?: SnapshotIds): Promise<{ rootfs: string }>;

  /** Unmounts and deletes the writable layer, whatever the container made of it. The shared layers stay. A missing key is no error. */
  abstract remove(key: string): Promise<void>;

  /** All snapshots, mounted or not, in the order of their keys. */
  abstract list(): Promise<readonly SnapshotRecord[]>;

  /** Where layers are mounted that snapshots stand on, each once for all of them: absolute paths, none when there is no snapshot. */
  abstract layerMounts(): Promise<readonly string[]>;

  /** Disk space of one snapshot's writable layer. Zeros for a missing key. */
  abstract usage(key: string): Promise<{ bytes: number; inodes: number }>;
}
