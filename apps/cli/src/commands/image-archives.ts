import { embeddedRegistry, type ImageReference, parseImageReference } from '@berth/core';
import { exportImage, ImageError, importImage, RegistryClient } from '@berth/image';
import { type Command, type Context, defineCommand, print, takeOperands } from '../command.js';
import { exitCodes, ServiceError, UsageError } from '../failures.js';
import { readSettings } from '../settings.js';
import { formatSize } from '../units.js';

const importCommand = defineCommand({
  name: 'image import',
  summary: 'Push an image from a file: an OCI layout, or what docker save and podman save write',
  operands: 'FILE NAME',
  details:
    `FILE is a tar file, or a folder with an OCI layout; NAME is ${embeddedRegistry}/TENANT/NAME[:TAG]. The bytes go straight to the registry,\n` +
    'at BERTH_REGISTRY_URL or where keys.json says.',
  options: { name: { type: 'string', value: 'NAME', description: 'Which image of several that FILE holds: its tag, or its whole name' } },
  async run(context, values, operands) {
    const [file, name] = takeOperands(operands, 'FILE', 'NAME');
    const reference = parse(name);
    if (reference.digest !== undefined) throw new UsageError(`${name}: an import is named by a tag, its digest is its own`);
    const sums = { sent: 0, known: 0 };
    const digest = await attempt(() =>
      importImage(file, clientOf(context), reference, {
        name: values.name,
        onBlob: (bytes, wasSent) => {
          sums[wasSent ? 'sent' : 'known'] += bytes;
        },
      }),
    );
    await print(context.stderr, `${formatSize(sums.sent)} sent, ${formatSize(sums.known)} were there\n`);
    await print(context.stdout, `${embeddedRegistry}/${reference.repository}@${digest}\n`);
    return exitCodes.ok;
  },
});

const exportCommand = defineCommand({
  name: 'image export',
  summary: 'Write an image into a file that docker, podman and skopeo read',
  operands: 'NAME FILE',
  details: 'The tar file is an OCI layout and a docker archive at once. It appears when it is whole; one of that name is replaced.',
  options: {},
  async run(context, _values, operands) {
    const [name, file] = takeOperands(operands, 'NAME', 'FILE');
    const reference = parse(name);
    const full = `${embeddedRegistry}/${reference.repository}:${reference.tag ?? 'latest'}`;
    let written = 0;
    const digest = await attempt(() =>
      exportImage(clientOf(context), reference, file, {
        name: full,
        onBlob: (bytes) => {
          written += bytes;
        },
      }),
    );
    await print(context.stderr, `${formatSize(written)} written\n`);
    await print(context.stdout, `${digest}\n`);
    return exitCodes.ok;
  },
});

export const archiveCommands: readonly Command[] = [importCommand, exportCommand];

function clientOf({ environment }: Context): RegistryClient {
  const settings = readSettings(environment);
  const url = settings.registry();
  // Whoever types the address may reach it: that it is internal is the rule.
  return new RegistryClient({
    resolveRegistry: () => ({ url, allowInternal: true }),
    authorization: `Bearer ${settings.key('tenant')}`,
  });
}

function parse(name: string): ImageReference {
  let reference: ImageReference;
  try {
    reference = parseImageReference(name);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(`${name}: ${error.message}`);
  }
  if (reference.registry !== embeddedRegistry)
    throw new UsageError(`${name}: write ${embeddedRegistry}/TENANT/NAME[:TAG]; skopeo copies from other registries`);
  return reference;
}

/** Tells what is wrong with the file or the registry in a sentence. */
async function attempt(operation: () => Promise<string>): Promise<string> {
  try {
    return await operation();
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (error instanceof ImageError) throw new ServiceError(`${error.message} (${error.code})`);
    if (code !== undefined && path !== undefined) throw new UsageError(`${path}: ${code}`);
    throw error;
  }
}
