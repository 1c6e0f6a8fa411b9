import type { ImageDetails } from '@berth/wire';
import { z } from 'zod';
import type { DescribedImage } from '../admission/resolve-image.js';

const textMax = 4096;
const text = z
  .string()
  .catch('')
  .transform((whole) => whole.slice(0, textMax));
const created = z.string().max(64).nullable().catch(null);

/** What an image's configuration says of how it came to be (OCI image-spec, config.md). Hostile: what is not as it should be counts as absent. */
const told = z.object({
  created,
  history: z
    .array(
      z
        .object({ created, created_by: text, comment: text, empty_layer: z.boolean().catch(false) })
        .catch({ created: null, created_by: '', comment: '', empty_layer: false }),
    )
    .max(1000)
    .catch([]),
});

/** An image as people look at it. */
export function imageDetails(
  image: string,
  platform: string,
  { digest, mediaType, manifest, config, configBytes }: DescribedImage,
): ImageDetails {
  const { layers, config: configBlob } = manifest.content;
  const { created: createdAt, history } = told.parse(JSON.parse(configBytes.toString('utf8')));
  const { entrypoint, cmd, env, workingDir, user, labels, volumes, exposedPorts } = config;
  return {
    image,
    digest,
    manifestDigest: manifest.digest,
    mediaType,
    platform,
    createdAt,
    sizeBytes: layers.reduce((total, { size }) => total + size, configBlob.size),
    config: {
      entrypoint: [...entrypoint],
      cmd: [...cmd],
      env: [...env],
      workingDir,
      user,
      stopSignal: config.stopSignal ?? null,
      labels,
      volumes: [...volumes],
      exposedPorts: [...exposedPorts],
    },
    layers: layers.map((layer, index) => ({
      digest: layer.digest,
      diffId: config.diffIds[index] ?? layer.digest,
      mediaType: layer.mediaType,
      sizeBytes: layer.size,
    })),
    history: historyOf(history, layers),
  };
}

/** Each layer with the line that made it. Lines and layers that do not match each other are shown without the other. */
function historyOf(lines: z.infer<typeof told>['history'], layers: readonly { digest: string; size: number }[]): ImageDetails['history'] {
  const rest = [...layers];
  const shown = lines.map(({ created: createdAt, created_by: createdBy, comment, empty_layer }) => {
    const layer = empty_layer ? undefined : rest.shift();
    return { createdAt, createdBy, comment, layer: layer?.digest ?? null, sizeBytes: layer?.size ?? 0 };
  });
  return [...shown, ...rest.map(({ digest, size }) => ({ createdAt: null, createdBy: '', comment: '', layer: digest, sizeBytes: size }))];
}
