/*
 * npm run bench -- pull [--rounds 5] [--large-mb 0] [--no-peers] [--no-samples]
 *
 * A cold pull over loopback, from a registry's bytes to a root filesystem that a container could start on: Berth, skopeo with umoci, and podman in turn,
 * each into an empty store; images of three ordinary layers, of forty small ones and, with --large-mb, of one large one. The floor of each round is the slowest of
 * its parts done by themselves, two layers at a time: download, inflate with both hashes, write with fsync. Peak memory is that of this process and of
 * the largest of its children together.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream, mkdirSync, mkdtempSync } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ContentStore, hostPlatform, ImagePuller, OverlaySnapshotter } from '@berth/image';
import { type BenchImage, clientOf, manyLayers, oneLayer, push, startRegistry, threeLayers } from './pull-images.js';
import { print, summarize } from './samples.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    'large-mb': { type: 'string', default: '0' },
    'no-peers': { type: 'boolean', default: false },
    'no-samples': { type: 'boolean', default: false },
  },
});
const native = process.env.BERTH_NATIVE_DIR ?? fileURLToPath(new URL('../../../native/build', import.meta.url));
const berthLayerPath = join(native, 'berth-layer');
const installed = (command: string) => spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;

interface Target {
  readonly host: string;
  readonly image: BenchImage;
  readonly digest: string;
}

/** Runs one way to pull in a directory of its own, which is removed afterwards; the registry's and the images' files stay in the page cache. */
async function timed(
  home: string,
  work: (dir: string) => Promise<void> | void,
  after: (dir: string) => Promise<void> | void = () => {},
): Promise<number> {
  const dir = mkdtempSync(join(home, 'pull-'));
  // What others left to be written must not be written on our time.
  execFileSync('sync');
  const start = performance.now();
  await work(dir);
  const ms = performance.now() - start;
  await after(dir);
  execFileSync(berthLayerPath, ['remove', '--dir', dir]);
  return ms;
}

const memoryOf = async (pid: number | string, field: 'VmHWM' | 'VmRSS'): Promise<number> =>
  1024 * Number(new RegExp(`${field}:\\s+(\\d+)`).exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] ?? 0);

/** Samples the resident memory of this process and all below it until it is told to stop; returns the most seen. */
function watchMemory(): () => number {
  let peak = 0;
  const look = async () => {
    let sum = await memoryOf('self', 'VmRSS');
    const below = async (pid: number | string): Promise<void> => {
      for (const task of await readdir(`/proc/${pid}/task`).catch(() => [] as string[]))
        for (const child of (await readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '')).split(' ').filter(Boolean)) {
          const name = await readFile(`/proc/${child}/comm`, 'utf8').catch(() => '');
          if (name.startsWith('berth-layer')) sum += await memoryOf(child, 'VmRSS');
          if (name.startsWith('berth-layer')) await below(child);
        }
    };
    await below('self');
    peak = Math.max(peak, sum);
  };
  const timer = setInterval(() => void look(), 10);
  return () => {
    clearInterval(timer);
    return peak;
  };
}

async function pullWithBerth(
  home: string,
  { host, image, digest }: Target,
  samples: { start: number[]; disk: number[]; memory: number[] },
): Promise<number> {
  const idle = await memoryOf('self', 'VmRSS');
  const stop = watchMemory();
  let store: ContentStore | undefined;
  const ms = await timed(
    home,
    async (dir) => {
      store = await ContentStore.open({ dir: join(dir, 'content'), berthLayerPath });
      await new ImagePuller(store).pull(
        { reference: `${host}/bench/${image.name}`, digest },
        { client: clientOf(host), platform: hostPlatform() },
      );
    },
    async (dir) => {
      samples.memory.push(stop(), stop() - idle);
      samples.disk.push(1024 * Number(execFileSync('du', ['-sk', dir], { encoding: 'utf8' }).split('\t')[0]));
      const snapshotter = new OverlaySnapshotter(join(dir, 'snapshots'), berthLayerPath);
      const start = performance.now();
      const { rootfs } = await snapshotter.prepare('bench', store?.image(digest)?.layers ?? [], { uidBase: 1_000_000, uidCount: 65_536 });
      samples.start.push(performance.now() - start);
      await readdir(rootfs);
      await snapshotter.remove('bench');
      await store?.close();
    },
  );
  return ms;
}

async function run(command: string, ...args: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000);
  });
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${said}`);
}

const peers: Record<string, { needs: readonly string[]; pull: (home: string, target: Target) => Promise<number> }> = {
  'skopeo and umoci': {
    needs: ['skopeo', 'umoci'],
    pull: (home, { host, image }) =>
      timed(home, async (dir) => {
        await run('skopeo', 'copy', '--src-tls-verify=false', `docker://${host}/bench/${image.name}:latest`, `oci:${dir}/oci:latest`);
        await run('umoci', 'unpack', '--image', `${dir}/oci:latest`, `${dir}/bundle`);
      }),
  },
  podman: {
    needs: ['podman'],
    pull: (home, { host, image }) =>
      timed(
        home,
        (dir) =>
          run(
            'podman',
            '--root',
            join(dir, 'root'),
            '--runroot',
            join(dir, 'run'),
            'pull',
            '--quiet',
            '--tls-verify=false',
            `${host}/bench/${image.name}:latest`,
          ),
        // It leaves its storage mounted on itself.
        (dir) => void spawnSync('umount', ['-l', join(dir, 'root/overlay')]),
      ),
  },
};

/** Runs `each` on all, two at a time: as many as the reference machine has cores. */
async function byTwos<T>(items: readonly T[], each: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await each(item);
  };
  await Promise.all([lane(), lane()]);
}

async function floor(home: string, { host, image }: Target): Promise<Record<string, number>> {
  const client = clientOf(host);
  const repository = { registry: host, repository: `bench/${image.name}` };
  const download = await timed(home, () =>
    byTwos(image.layers, async ({ digest, bytes }) => {
      for await (const chunk of client.openBlob(repository, { mediaType: '', digest, size: bytes }, { hashed: 'byConsumer' })) void chunk;
    }),
  );
  const inflate = await timed(home, () =>
    byTwos(image.layers, ({ path }) => run('sh', '-c', `exec '${berthLayerPath}' verify --compression gzip < '${path}'`)),
  );
  const write = await timed(home, (dir) =>
    byTwos(image.layers, async ({ digest, archiveBytes }) => {
      const file = await open(join(dir, digest), 'w');
      const chunk = Buffer.alloc(1 << 20, 1);
      for (let left = archiveBytes; left > 0; left -= chunk.length) await file.write(chunk, 0, Math.min(left, chunk.length));
      await file.sync();
      await file.close();
    }),
  );
  return { download, inflate, write };
}

async function measure(home: string, target: Target, rounds: number): Promise<void> {
  const { image } = target;
  const series: Record<string, number[]> = { berth: [] };
  const samples = { start: [] as number[], disk: [] as number[], memory: [] as number[] };
  const chosen = Object.entries(peers).filter(([, { needs }]) => !values['no-peers'] && needs.every(installed));
  const floors: number[] = [];
  const parts: Record<string, number[]> = {};
  for (const { path } of image.layers) for await (const chunk of createReadStream(path)) void chunk;
  for (let round = 0; round < rounds; round++) {
    series.berth?.push(await pullWithBerth(home, target, samples));
    const part = await floor(home, target);
    for (const [name, ms] of Object.entries(part)) parts[name] = [...(parts[name] ?? []), ms];
    floors.push(Math.max(...Object.values(part)));
    for (const [name, { pull }] of chosen) series[name] = [...(series[name] ?? []), await pull(home, target)];
  }
  const facts = {
    image: image.name,
    layers: image.layers.length,
    compressedBytes: image.layers.reduce((sum, { bytes }) => sum + bytes, 0),
    archiveBytes: image.layers.reduce((sum, { archiveBytes }) => sum + archiveBytes, 0),
  };
  const summary = (ms: readonly number[]) => {
    const { samplesMs, ...rest } = summarize(ms);
    return values['no-samples'] ? rest : { ...rest, samplesMs };
  };
  for (const [what, ms] of Object.entries({ ...series, floor: floors, ...parts })) print({ bench: 'pull', ...facts, what, ...summary(ms) });
  print({ bench: 'pull', ...facts, what: 'start on it', ...summary(samples.start) });
  const [berth, least] = [summarize(series.berth ?? []).p50Ms, summarize(floors).p50Ms];
  print({
    bench: 'pull',
    ...facts,
    what: 'figures',
    againstFloor: berth / least,
    diskAgainstArchives: Math.max(...samples.disk) / facts.archiveBytes,
    peakMemoryBytes: Math.max(...samples.memory.filter((_, index) => index % 2 === 0)),
    peakMemoryOfThePullBytes: Math.max(...samples.memory.filter((_, index) => index % 2 === 1)),
    ...Object.fromEntries(chosen.map(([name]) => [`against ${name}`, berth / summarize(series[name] ?? []).p50Ms])),
  });
}

const home = mkdtempSync(join(tmpdir(), 'berth-bench-pull-'));
mkdirSync(join(home, 'layers'));
const registry = await startRegistry(home);
try {
  const large = Number(values['large-mb']);
  const images = [
    threeLayers(join(home, 'layers')),
    manyLayers(join(home, 'layers')),
    ...(large > 0 ? [oneLayer(join(home, 'layers'), large)] : []),
  ];
  for (const image of images)
    await measure(home, { host: registry.host, image, digest: await push(registry.host, image) }, Number(values.rounds));
} finally {
  await registry.stop();
  execFileSync(berthLayerPath, ['remove', '--dir', home]);
}
