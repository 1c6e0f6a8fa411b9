import { ContentStore } from '../content/content-store.js';
import { ImagePuller } from '../content/image-puller.js';
import { RegistryClient } from '../registry/registry-client.js';
import { nativeProgram } from './native-program.js';
import { seededNumbers } from './seeded-numbers.js';

/*
 * A process of its own that opens the store of DIR, says `open`, and pulls the images REFERENCE@DIGEST... and collects them again, two things at a time and in
 * an order that SEED gives, until it is killed.
 */
const [dir = '', reference = '', seed = '', ...digests] = process.argv.slice(2);
const store = await ContentStore.open({ dir, berthLayerPath: nativeProgram('berth-layer') });
const client = new RegistryClient({ resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }) });
const puller = new ImagePuller(store);
const next = seededNumbers(Number(seed));
process.stdout.write('open\n');

async function churn(): Promise<void> {
  for (;;) {
    const choice = next();
    const digest = digests[choice % digests.length] ?? '';
    if (choice % 3 < 2) await puller.pull({ reference, digest }, { client, platform: 'linux/amd64' });
    else await store.removeUnused({ images: [digest], layers: [] }, choice % 2 === 0 ? Number.POSITIVE_INFINITY : 1);
  }
}
await Promise.all([churn(), churn()]);
