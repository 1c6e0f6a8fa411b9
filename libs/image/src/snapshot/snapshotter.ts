import type { WrittenLayer } from '../commit/commit-image.js';
import type { ChangeList, LayerForm, UnpackLimits } from '../content/layer-program.js';

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

/**
 * How a writable layer can be bounded: by a project quota of the filesystem that holds the snapshots, by a filesystem of that size in a file, or by one
 * in memory, which counts as the memory of whoever writes.
 */
export const diskLimitMethods = ['project-quota', 'image', 'tmpfs'] as const;
export type DiskLimitMethod = (typeof diskLimitMethods)[number];

/** What may be written to a snapshot; the filesystem's own tables count too. */
export interface SnapshotLimit {
  readonly by: DiskLimitMethod;
  readonly bytes: number;
  /** Files, directories and links. */
  readonly inodes: number;
}

/** A writable layer that this snapshotter cannot read beside the container; the message tells why. */
export class UnreadableLayerError extends Error {}

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
   * Asking again for a key that is mounted with the same layers, ids and limit returns it as it is; one that a crash left half-made is made anew.
   * With `limit`, writing beyond it fails with ENOSPC, or EDQUOT where a quota of ext4 says so, and costs nobody else anything.
   * Throws when the host cannot give what is asked (no idmapped mounts on this filesystem, too many layers), and leaves nothing behind then.
   */
  abstract prepare(key: string, layers: readonly SnapshotLayer[], ids?: SnapshotIds, limit?: SnapshotLimit): Promise<{ rootfs: string }>;

  /** Unmounts and deletes the writable layer, whatever the container made of it. The shared layers stay. A missing key is no error. */
  abstract remove(key: string): Promise<void>;

  /** All snapshots, mounted or not, in the order of their keys. */
  abstract list(): Promise<readonly SnapshotRecord[]>;

  /** Where layers are mounted that snapshots stand on, each once for all of them: absolute paths, none when there is no snapshot. */
  abstract layerMounts(): Promise<readonly string[]>;

  /** Ends what goes on beside the calls. Snapshots stay as they are. */
  abstract close(): Promise<void>;

  /**
   * What was written to a snapshot, at most `max` changes: parents first, names in the order of their bytes. A container that writes meanwhile may
   * find some of it told and some not. Null for a missing key. Throws UnreadableLayerError when the writable layer cannot be looked at.
   */
  abstract changes(key: string, max: number): Promise<ChangeList | null>;

  /**
   * Writes what was written to a snapshot as a layer's blob, gzip, to a new file: `changes` as an OCI layer, owners as the container sees them. Nothing may write to the snapshot
   * meanwhile. Null for a missing key. Throws UnreadableLayerError, and ImageError for what no layer can hold.
   */
  abstract writeLayer(key: string, file: string, limits: UnpackLimits): Promise<WrittenLayer | null>;

  /** Disk space of one snapshot's writable layer. Zeros for a missing key. */
  abstract usage(key: string): Promise<{ bytes: number; inodes: number }>;
}
