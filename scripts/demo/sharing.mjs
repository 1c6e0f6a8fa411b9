import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { layerSharing } from '@berth/image';
import { bytes } from './stage.mjs';

/** What the disk says: blocks of every file below the folders, once for each inode. */
export function diskUsage(...folders) {
  const seen = new Set();
  const walk = (path) => {
    const stats = lstatSync(path);
    if (seen.has(stats.ino)) return 0;
    seen.add(stats.ino);
    return stats.blocks * 512 + (stats.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + walk(join(path, name)), 0) : 0);
  };
  return folders.reduce((sum, folder) => sum + walk(folder), 0);
}

/** Disk of the shared layers against the sum of the images, on the node and in the registry: measured, not added up from what was sent. */
export function sharing(stage, { images, acme, globex, registryFolder, agentFolder }) {
  stage.heading('Sharing: what the layers take on the disk');
  const layers = layerFolders(agentFolder);
  const onDisk = new Map([...layers].map(([diffId, folder]) => [diffId, diskUsage(folder)]));
  const pulled = imageRecords(agentFolder);
  const { images: each, totalBytes, sumOfImagesBytes } = layerSharing(pulled, onDisk);
  const names = new Map([...images.built].map(([name, image]) => [image.manifestDigest, name]));
  stage.table(
    ['image on the node', 'layers', 'alone', 'only its own'],
    each.map(({ digest, bytes: whole, uniqueBytes }, index) => [
      names.get(digest) ?? digest.slice(0, 19),
      pulled[index].layers.length,
      bytes(whole),
      bytes(uniqueBytes),
    ]),
  );
  stage.fact('sum of the images', bytes(sumOfImagesBytes), sumOfImagesBytes > 0);
  const measured = diskUsage(...layers.values());
  stage.fact(
    'on the node’s disk',
    `${bytes(measured)}, ${share(measured, sumOfImagesBytes)} of the sum`,
    measured === totalBytes && measured < sumOfImagesBytes / 2,
  );

  const pushed =
    [acme, globex].length *
    [...images.built.values()].reduce((sum, image) => sum + image.layers.reduce((all, { size }) => all + size, 0), 0);
  const stored = diskUsage(registryFolder);
  stage.fact('pushed to the registry, compressed', bytes(pushed));
  stage.fact('on the registry’s disk', `${bytes(stored)}, ${share(stored, pushed)} of the sum`, stored < pushed / 4);
}

const share = (part, whole) => `${((100 * part) / whole).toFixed(0)} %`;

/** The folder of each layer on a node by diff id, whatever form the layer has there; the layout is ContentStore's in libs/image. */
function layerFolders(agentFolder) {
  const folder = join(agentFolder, 'content/layers');
  return new Map(readdirSync(folder).map((hex) => [`sha256:${hex}`, join(folder, hex)]));
}

function imageRecords(agentFolder) {
  const folder = join(agentFolder, 'content/images');
  return readdirSync(folder)
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
    .map(({ digest, layers }) => ({ digest, layers: layers.map(({ diffId }) => diffId) }));
}
