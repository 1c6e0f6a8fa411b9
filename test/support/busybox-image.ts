import { type BuiltLayer, buildImage, buildLayer, hostPlatform, pushImage, RegistryClient } from '@berth/image';
import { baseLayer } from '#scripts/demo/layers.mjs';

let base: Promise<BuiltLayer> | undefined;

/**
 * Builds an image of the machine's static busybox, which prints nothing and exits with 0 unless a run says otherwise, and pushes it as
 * `repository:latest` with an API key. `note` adds a layer of its own. Answers the digests of manifest and layers.
 */
export async function pushBusybox(
  registryUrl: string,
  repository: string,
  apiKey: string,
  { note }: { note?: string } = {},
): Promise<{ manifest: string; layers: string[] }> {
  base ??= baseLayer();
  const layers = [await base];
  if (note !== undefined) layers.push(await buildLayer([{ type: 'file', path: '/etc/note', content: note }]));
  const image = buildImage({ layers, platform: hostPlatform(), config: { Cmd: ['/bin/true'], Env: ['PATH=/bin'] } });
  const client = new RegistryClient({
    resolveRegistry: () => ({ url: registryUrl, allowInternal: true }),
    authorization: `Basic ${Buffer.from(`test:${apiKey}`).toString('base64')}`,
  });
  const { digest } = await pushImage(client, { registry: 'registry.berth', repository, tag: 'latest' }, image);
  return { manifest: digest, layers: layers.map((layer) => layer.digest) };
}
