import { ContentStore } from '../content/content-store.js';
import { ImagePuller } from '../content/image-puller.js';
import { RegistryClient } from '../registry/registry-client.js';
import { nativeProgram } from './native-program.js';

/* A process of its own that opens the store of DIR, says `open` and pulls REFERENCE@DIGEST: to be killed. */
const [dir = '', reference = '', digest = ''] = process.argv.slice(2);
const store = await ContentStore.open({ dir, berthLayerPath: nativeProgram('berth-layer') });
process.stdout.write('open\n');
const client = new RegistryClient({ resolveRegistry: (host) => ({ url: `http://${host}`, allowInternal: true }) });
await new ImagePuller(store).pull({ reference, digest }, { client, platform: 'linux/amd64' });
await store.removeUnused({ images: [], layers: [] });
