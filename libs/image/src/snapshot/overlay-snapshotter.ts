import { chmod, chown, mkdir, readdir, readFile, rename, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compressInto, type WrittenLayer } from '../commit/commit-image.js';
import {
  type ChangeList,
  LayerProgram,
  type OverlayBound,
  type OverlayMount,
  type UnpackLimits,
  type WritableLayer,
} from '../content/layer-program.js';
import { DiskImagePool } from './disk-image-pool.js';
import { LayerMounts } from './layer-mounts.js';
import {
  type SnapshotIds,
  type SnapshotLayer,
  type SnapshotLimit,
  type SnapshotRecord,
  Snapshotter,
  UnreadableLayerError,
} from './snapshotter.js';

interface StoredSnapshot {
  readonly layers: readonly string[];
  readonly ids: SnapshotIds | null;
  /** Those of the layers that are images, and so mounted. */
  readonly images?: readonly string[];
  /** Where those lie that are trees, by their diff ids. */
  readonly trees?: Readonly<Record<string, string>>;
  readonly limit?: SnapshotLimit;
}

const KEY = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

/**
 * Snapshots as overlay mounts over layers of either form; images are mounted once for all snapshots that stand on them.
 *
 *     DIR/KEY/snapshot.json   its layers and ids
 *     DIR/KEY/upper, work     the writable layer, unless it is bounded by a filesystem of its own: that is in memory, or
 *     DIR/KEY/writable.ext4   in this file, and mounted nowhere else than beneath the overlay
 *     DIR/KEY/rootfs          where it is mounted
 *     DIR/.layers/HEX         where the image of the layer sha256:HEX is mounted
 *     DIR/.spare              files like writable.ext4, made ahead
 *     DIR/.empty              the one lower of an image without layers
 *     DIR/.removing-KEY       one whose removal a crash may have cut short
 */
export class OverlaySnapshotter extends Snapshotter {
  readonly #dir: string;
  readonly #program: LayerProgram;
  readonly #spare: DiskImagePool;
  // One operation per key at a time: a removal and a preparation that cross would leave a mount without a record.
  readonly #busy = new Map<string, Promise<unknown>>();
  #layers: Promise<LayerMounts> | undefined;
  #opened: Promise<void> | undefined;

  /** `dir` is made when missing, for this process alone. */
  constructor(dir: string, berthLayerPath: string) {
    super();
    this.#dir = dir;
    this.#program = new LayerProgram(berthLayerPath);
    this.#spare = new DiskImagePool(join(dir, '.spare'));
  }

  override prepare(key: string, layers: readonly SnapshotLayer[], ids?: SnapshotIds, limit?: SnapshotLimit): Promise<{ rootfs: string }> {
    return this.#alone(key, async () => {
      const rootfs = join(this.#dir, key, 'rootfs');
      const images = layers.filter(({ form }) => form === 'image').map(({ diffId }) => diffId);
      const trees = Object.fromEntries(layers.filter(({ form }) => form === 'directory').map(({ diffId, path }) => [diffId, path]));
      const wanted: StoredSnapshot = {
        layers: layers.map(({ diffId }) => diffId),
        ids: ids ?? null,
        ...(images.length > 0 ? { images } : {}),
        ...(Object.keys(trees).length > 0 ? { trees } : {}),
        ...(limit === undefined ? {} : { limit }),
      };
      const found = await this.#read(key);
      if (found && (await isMountPoint(rootfs)) && JSON.stringify(found) === JSON.stringify(wanted)) return { rootfs };
      await this.#discard(key);
      try {
        await this.#create(key, layers, wanted);
      } catch (error) {
        await this.#discard(key);
        throw error;
      }
      return { rootfs };
    });
  }

  override remove(key: string): Promise<void> {
    return this.#alone(key, () => this.#discard(key));
  }

  override async list(): Promise<readonly SnapshotRecord[]> {
    const names = (await readdir(this.#dir).catch(() => [] as string[])).map((name) => name.replace(/^\.removing-/, ''));
    const records = [...new Set(names)].filter((name) => KEY.test(name)).sort();
    return Promise.all(
      records.map(async (key) => ({
        key,
        layers: (await this.#read(key))?.layers ?? [],
        mounted: await isMountPoint(join(this.#dir, key, 'rootfs')),
      })),
    );
  }

  override async layerMounts(): Promise<readonly string[]> {
    return (await this.#mounts()).held();
  }

  override async usage(key: string): Promise<{ bytes: number; inodes: number }> {
    assertKey(key);
    const upper = join(this.#dir, key, 'upper');
    if (!(await exists(upper))) return { bytes: 0, inodes: 0 };
    const by = (await this.#read(key))?.limit?.by;
    if (by === 'image' || by === 'tmpfs') return filesystemUsage(join(this.#dir, key, 'rootfs'));
    return this.#program.measure(upper);
  }

  override changes(key: string, max: number): Promise<ChangeList | null> {
    return this.#alone(key, async () => {
      const record = await this.#read(key);
      return record === undefined ? null : this.#program.changes(await this.#writableLayer(key, record), max);
    });
  }

  override writeLayer(key: string, file: string, limits: UnpackLimits): Promise<WrittenLayer | null> {
    return this.#alone(key, async () => {
      const record = await this.#read(key);
      if (record === undefined) return null;
      let blob: Omit<WrittenLayer, 'diffId'> | undefined;
      const diffId = await this.#program.archive(await this.#writableLayer(key, record), limits, async (archive) => {
        blob = await compressInto(file, archive);
      });
      return blob === undefined ? null : { diffId, ...blob };
    });
  }

  override async close(): Promise<void> {
    await this.#spare.close();
  }

  async #create(key: string, layers: readonly SnapshotLayer[], record: StoredSnapshot): Promise<void> {
    const own = join(this.#dir, key);
    await mkdir(own, { recursive: true, mode: 0o700 });
    // Runtimes that mount as the container's root (runc, crun) must get to the mount point; nobody else may.
    const ids = record.ids ?? undefined;
    if (ids !== undefined) await chown(own, 0, ids.uidBase);
    await chmod(own, 0o710);
    await this.#openTo(this.#dir);
    for (const part of ['upper', 'work', 'rootfs']) await mkdir(join(own, part), { mode: 0o755 });
    await writeFile(join(own, 'snapshot.json'), JSON.stringify(record), { mode: 0o600 });
    const mounts = await this.#mounts();
    mounts.hold(key, record.images ?? []);
    const lowers = await this.#lowers(layers);
    const bound = await this.#bound(own, record);
    await this.#program.mount({ target: join(own, 'rootfs'), upper: join(own, 'upper'), work: join(own, 'work'), lowers, ids, bound });
  }

  /** A snapshot's writable layer over mounted layers. */
  async #writableLayer(key: string, { layers, ids, images = [], trees = {}, limit }: StoredSnapshot): Promise<WritableLayer> {
    const own = join(this.#dir, key);
    if (limit?.by === 'image' || limit?.by === 'tmpfs')
      throw new UnreadableLayerError('it is bounded by a filesystem of its own, which is mounted nowhere else than beneath it');
    if (!(await isMountPoint(join(own, 'rootfs')))) throw new UnreadableLayerError('it is not mounted');
    const mounts = await this.#mounts();
    const stack = layers.map((diffId): SnapshotLayer => {
      if (images.includes(diffId)) return { diffId, form: 'directory', path: mounts.pathOf(diffId) };
      const path = trees[diffId];
      if (path === undefined) throw new UnreadableLayerError('it was made by an agent that noted no layers');
      return { diffId, form: 'directory', path };
    });
    return { target: join(own, 'rootfs'), upper: join(own, 'upper'), lowers: await this.#lowers(stack), ids: ids ?? undefined };
  }

  /** Topmost first. A layer that occurs twice shows nothing from its lower place, and overlayfs refuses it. */
  async #lowers(layers: readonly SnapshotLayer[]): Promise<OverlayMount['lowers']> {
    const mounts = await this.#mounts();
    const distinct = new Map([...layers].reverse().map((layer) => [layer.diffId, layer]));
    const lowers = [...distinct.values()].map(({ diffId, path, form }) =>
      form === 'image' ? { dir: mounts.pathOf(diffId), image: path } : { dir: path },
    );
    if (lowers.length > 0) return lowers;
    const empty = join(this.#dir, '.empty');
    await mkdir(empty, { recursive: true, mode: 0o755 });
    return [{ dir: empty }];
  }

  async #bound(own: string, { limit, ids }: StoredSnapshot): Promise<OverlayBound | undefined> {
    if (limit === undefined) return undefined;
    const { bytes, inodes } = limit;
    if (limit.by === 'tmpfs') return { by: 'tmpfs', bytes, inodes };
    if (limit.by === 'project-quota') return { by: 'project', bytes, inodes, project: projectOf(ids) };
    const image = join(own, 'writable.ext4');
    await this.#spare.take({ bytes, inodes }, image);
    return { by: 'image', image };
  }

  /** Lets others pass through, which shows them nothing. Once is enough. */
  #openTo(dir: string): Promise<void> {
    this.#opened ??= chmod(dir, 0o711);
    return this.#opened;
  }

  /** Unmounts and removes; renamed first, so that a crash leaves nothing that looks like a snapshot. */
  async #discard(key: string): Promise<void> {
    const own = join(this.#dir, key);
    const removing = join(this.#dir, `.removing-${key}`);
    await this.#erase(removing);
    const mounts = await this.#mounts();
    if (!(await exists(own))) return;
    await this.#program.unmount(join(own, 'rootfs'), mounts.drop(key));
    await rename(own, removing);
    await this.#erase(removing);
  }

  /** Its project's limits go with it: they say which it is as long as it is there. */
  async #erase(removing: string): Promise<void> {
    const record = await this.#readAt(removing);
    await this.#program.remove(removing, record?.limit?.by === 'project-quota' ? projectOf(record.ids) : undefined);
  }

  /** Who stands on what, found on disk the first time; mounts that a crash left without a snapshot go away then. */
  #mounts(): Promise<LayerMounts> {
    this.#layers ??= (async () => {
      const mounts = new LayerMounts(join(this.#dir, '.layers'));
      await mkdir(mounts.dir, { recursive: true, mode: 0o700 });
      for (const { key } of await this.list()) mounts.hold(key, (await this.#read(key))?.images ?? []);
      const held = new Set(mounts.held());
      const stray = (await readdir(mounts.dir)).map((name) => join(mounts.dir, name)).filter((path) => !held.has(path));
      // Of no overlay's: nothing is ever mounted at the directory that holds them.
      if (stray.length > 0) await this.#program.unmount(mounts.dir, stray);
      return mounts;
    })();
    this.#layers.catch(() => {
      this.#layers = undefined;
    });
    return this.#layers;
  }

  async #read(key: string): Promise<StoredSnapshot | undefined> {
    return this.#readAt(join(this.#dir, key));
  }

  async #readAt(dir: string): Promise<StoredSnapshot | undefined> {
    try {
      return JSON.parse(await readFile(join(dir, 'snapshot.json'), 'utf8')) as StoredSnapshot;
    } catch {
      return undefined;
    }
  }

  async #alone<T>(key: string, operation: () => Promise<T>): Promise<T> {
    assertKey(key);
    const before = this.#busy.get(key) ?? Promise.resolve();
    const mine = before.then(operation, operation);
    const settled = mine.catch(() => {});
    this.#busy.set(key, settled);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(key) === settled) this.#busy.delete(key);
    }
  }
}

function assertKey(key: string): void {
  if (!KEY.test(key)) throw new RangeError(`a snapshot's key must match ${KEY.source}`);
}

/** The first host id of a container is no other's on this machine, and so it names its project. */
function projectOf(ids: SnapshotIds | null): number {
  if (ids === null) throw new RangeError('a project quota goes by the ids of a snapshot, and this one has none');
  return ids.uidBase;
}

/** What is used of a filesystem that one snapshot has for itself; an overlay answers for its upper one. */
async function filesystemUsage(path: string): Promise<{ bytes: number; inodes: number }> {
  const { bsize, blocks, bfree, files, ffree } = await statfs(path);
  return { bytes: (blocks - bfree) * bsize, inodes: files - ffree };
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}

/** Whether something is mounted at a path: then it is of another device than the directory that holds it. */
async function isMountPoint(path: string): Promise<boolean> {
  const [inside, outside] = await Promise.all([stat(path), stat(join(path, '..'))].map((found) => found.catch(() => undefined)));
  return inside !== undefined && outside !== undefined && inside.dev !== outside.dev;
}
