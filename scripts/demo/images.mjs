import { gunzipSync } from 'node:zlib';
import { buildImage, hostPlatform, pushImage, RegistryClient } from '@berth/image';
import { appLayer, baseLayer, nodeLayer } from './layers.mjs';
import { bytes } from './stage.mjs';

const apps = [
  { name: 'report', version: 'v1' },
  { name: 'report', version: 'v2' },
  { name: 'exits', version: 'v1' },
  { name: 'notebook', version: 'v1' },
];

/** The demo's images: three apps (one in two versions) on the same base and the same Node.js. */
export class DemoImages {
  #pushed = new Map();

  /** Builds them and shows of what. */
  static async build(stage) {
    stage.heading('Images: built from files of this machine');
    const start = performance.now();
    const layers = { base: await baseLayer(), node: await nodeLayer() };
    const rows = Object.entries(layers).map(([name, layer]) => [name, ...sizes(layer), 'all images']);
    const built = new Map();
    for (const { name, version } of apps) {
      const app = await appLayer(name, version);
      rows.push([`${name}:${version}`, ...sizes(app), 'itself']);
      const image = buildImage({
        layers: [layers.base, layers.node, app],
        platform: hostPlatform(),
        config: {
          Entrypoint: ['node', '/app/main.mjs'],
          Env: ['PATH=/usr/local/bin:/bin', `REPORT_VERSION=${version}`],
          WorkingDir: '/app',
        },
      });
      built.set(`${name}:${version}`, image);
    }
    stage.table(['layer', 'compressed', 'unpacked', 'in'], rows);
    stage.fact('built in', `${((performance.now() - start) / 1000).toFixed(1)} s`);
    return new DemoImages(built);
  }

  constructor(built) {
    this.built = built;
  }

  /** Pushes every image to each tenant's part of the registry, over the distribution API, and shows that what is there is not sent again. */
  async pushAll(stage, tenants) {
    stage.heading('Push: to the embedded registry, over the OCI distribution API');
    for (const tenant of tenants) {
      for (const [name, image] of this.built) {
        const start = performance.now();
        const { digest, uploadedBytes } = await this.#push(tenant, name, image);
        const whole = image.layers.reduce((sum, { size }) => sum + size, 0);
        this.#pushed.set(`${tenant.name}/${name}`, digest);
        stage.fact(
          `${tenant.name}/${name}`,
          `${bytes(uploadedBytes)} of ${bytes(whole)} sent in ${(performance.now() - start).toFixed(0)} ms, ${digest.slice(0, 19)}...`,
          digest === image.manifestDigest,
        );
      }
    }
  }

  /** Lets a tag name one of the built versions. */
  tag(tenant, name, tag, version) {
    return this.#push(tenant, `${name}:${tag}`, this.built.get(`${name}:${version}`));
  }

  digest = (tenant, name) => this.#pushed.get(`${tenant.name}/${name}`);

  #push(tenant, name, image) {
    const [repository, tag] = name.split(':');
    return pushImage(registryClient(tenant), { registry: 'registry.berth', repository: `${tenant.name}/${repository}`, tag }, image);
  }
}

function registryClient({ registryUrl, key }) {
  return new RegistryClient({
    resolveRegistry: () => ({ url: registryUrl, allowInternal: true }),
    authorization: `Basic ${Buffer.from(`demo:${key}`).toString('base64')}`,
  });
}

const sizes = (layer) => [bytes(layer.size), bytes(gunzipSync(layer.blob).length)];
