import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type BuiltImage, buildImage } from '../build/build-image.js';
import { buildLayer } from '../build/build-layer.js';
import { ContentStore } from '../content/content-store.js';
import { ImagePuller } from '../content/image-puller.js';
import { LayerProgram } from '../content/layer-program.js';
import { RegistryClient } from '../registry/registry-client.js';
import { HostileRegistry } from './hostile-registry.js';
import { incompressible } from './incompressible.js';
import { nativeProgram } from './native-program.js';
import { seededNumbers } from './seeded-numbers.js';

const berthLayerPath = nativeProgram('berth-layer');
const churn = join(import.meta.dirname, 'store-churn.js');
/** Kills come so long after the store is open, at most: within the first pulls and collections. */
const killWithinMs = 400;

/** A store that is killed and looked at, a registry beside it, and three images of which each two share a layer. */
export class CrashRig {
  private constructor(
    readonly dir: string,
    readonly images: readonly BuiltImage[],
    private readonly registry: HostileRegistry,
    /** Of each layer's image as an undisturbed store has it, by diff id. */
    private readonly hashes: ReadonlyMap<string, string>,
  ) {}

  static async start(): Promise<CrashRig> {
    const dir = await mkdtemp(join(tmpdir(), 'berth-crash-'));
    const registry = await HostileRegistry.start();
    const layers = await Promise.all(
      [1, 2, 3].map((index) =>
        buildLayer(
          Array.from({ length: 40 }, (_, file) => ({ type: 'file', path: `l${index}/f${file}`, content: incompressible(40_000) }) as const),
        ),
      ),
    );
    const images = layers.map((layer, index) =>
      buildImage({ layers: [layer, layers[(index + 1) % layers.length] ?? layer], config: {}, platform: 'linux/amd64' }),
    );
    for (const image of images) registry.addImage(image);
    const hashes = new Map<string, string>();
    const rig = new CrashRig(dir, images, registry, hashes);
    const store = await rig.open('reference');
    for (const image of images) await rig.pullInto(store, image);
    for (const diffId of store.layerIds()) hashes.set(diffId, await hashOf(store.layerPath(diffId)));
    return rig;
  }

  async stop(): Promise<void> {
    await this.registry.stop();
    await new LayerProgram(berthLayerPath).remove(this.dir);
  }

  /** With another boot id, as after a restart of the machine. */
  open(name = 'store', bootId?: string): Promise<ContentStore> {
    return ContentStore.open({ dir: join(this.dir, name), berthLayerPath, bootId });
  }

  async pullInto(store: ContentStore, { manifestDigest }: BuiltImage): Promise<void> {
    const client = new RegistryClient({ resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }) });
    await new ImagePuller(store).pull({ reference: this.reference, digest: manifestDigest }, { client, platform: 'linux/amd64' });
  }

  /** One kill at a moment that the seed gives, and a look at what it left. Throws what is unsound about it. */
  async trial(seed: number): Promise<void> {
    const digests = this.images.map(({ manifestDigest }) => manifestDigest);
    const args = [churn, join(this.dir, 'store'), this.reference, String(seed), ...digests];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const gone = once(child, 'exit');
    await Promise.race([once(child.stdout, 'data'), gone]);
    await sleep(seededNumbers(seed)() % killWithinMs);
    child.kill('SIGKILL');
    const [code] = (await gone) as [number | null];
    if (code !== null) throw new Error(`seed ${seed}: the process ended by itself with ${code}`);
    await this.check(await this.open()).catch((error: Error) => {
      throw new Error(`seed ${seed}: ${error.message}`, { cause: error });
    });
  }

  /** Whatever the store claims to have is whole, and it has nothing else. */
  async check(store: ContentStore): Promise<void> {
    const folder = (name: string): Promise<string[]> => readdir(join(this.dir, 'store', name));
    const [left, layers, records] = await Promise.all([folder('tmp'), folder('layers'), folder('images')]);
    if (left.length > 0) throw new Error(`tmp still holds ${left.join(', ')}`);
    if (layers.length !== store.layerIds().length) throw new Error('a layer on disk is unknown to the store');
    if (records.length !== store.images().length) throw new Error('an image on disk is unknown to the store');
    for (const diffId of store.layerIds()) {
      const path = store.layerPath(diffId);
      if ((await hashOf(path)) !== this.hashes.get(diffId)) throw new Error(`layer ${diffId} is not what it should be`);
      await promisify(execFile)('fsck.erofs', ['--extract', path]);
    }
    for (const { digest } of store.images()) if (store.image(digest) === undefined) throw new Error(`image ${digest} lacks a layer`);
  }

  private get reference(): string {
    return `${this.registry.host}/team/app`;
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
