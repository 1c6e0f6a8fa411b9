import { diskUsage, type Image, type ImageUsage, imageDetails, imageList, nodeList, type RemovedImages, removedImages } from '@berth/wire';
import { type Command, type Context, defineCommand, print, takeOperands } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { formatTable } from '../table.js';
import { formatDuration, formatSize, parseDuration } from '../units.js';

const images = defineCommand({
  name: 'images',
  summary: 'List your images in the embedded registry',
  operands: '[REPOSITORY]',
  details: 'SIZE is compressed, as the registry keeps it. Images whose tags point elsewhere now are shown as <none>.',
  options: {
    digests: { type: 'boolean', description: 'Whole digests, too: what runs pin' },
    quiet: { type: 'boolean', short: 'q', description: 'Digests alone' },
    json: { type: 'boolean', description: 'As a JSON array' },
  },
  async run(context, values, operands) {
    if (operands.length > 1) throw new UsageError(`unexpected argument ${operands[1]}`);
    const [repository] = operands;
    const list = await context.client('tenant').json(imageList, '/v1/images');
    const found = list.items.filter((image) => repository === undefined || isNamed(image.repository, repository));
    if (values.json === true) await print(context.stdout, `${JSON.stringify(found, null, 2)}\n`);
    else if (values.quiet === true) await print(context.stdout, found.map(({ digest }) => `${digest}\n`).join(''));
    else await print(context.stdout, imageTable(found, context.nowMs(), values.digests === true));
    await sayIncomplete(context, list.isComplete);
    return exitCodes.ok;
  },
});

const df = defineCommand({
  name: 'df',
  summary: 'Show what you occupy: images, containers, logs',
  operands: '',
  details:
    'Layers that several images share count once. Images are active while runs that have not ended need them; what is reclaimable comes free by\n' +
    'berth image prune --all and berth rm.',
  options: {
    verbose: { type: 'boolean', short: 'v', description: 'Each image, with what it shares and what is its alone' },
    json: { type: 'boolean', description: 'As JSON' },
  },
  async run(context, values, operands) {
    takeOperands(operands);
    const client = context.client('tenant');
    const usage = await client.json(diskUsage, '/v1/disk-usage');
    const list = values.verbose === true ? await client.json(imageList, '/v1/images') : null;
    if (values.json === true) {
      await print(context.stdout, `${JSON.stringify({ ...usage, ...(list === null ? {} : { items: list.items }) }, null, 2)}\n`);
      return exitCodes.ok;
    }
    const { images: ours, containers, logs } = usage;
    const rows = [
      ['Images', String(ours.images), String(ours.activeImages), formatSize(ours.totalBytes), part(ours.reclaimableBytes, ours.totalBytes)],
      ['Containers', String(containers.active), String(containers.active), formatSize(containers.reservedBytes), part(0, 0)],
      [
        'Logs',
        String(logs.runs),
        String(logs.runs - logs.endedRuns),
        formatSize(logs.sizeBytes),
        part(logs.reclaimableBytes, logs.sizeBytes),
      ],
    ];
    await print(context.stdout, formatTable(['TYPE', 'TOTAL', 'ACTIVE', 'SIZE', 'RECLAIMABLE'], rows));
    if (list !== null) await print(context.stdout, `\n${usageTable(list.items, context.nowMs())}`);
    await print(context.stdout, `\n${sharingSentence(ours)}\n`);
    if (list !== null) await sayIncomplete(context, list.isComplete);
    return exitCodes.ok;
  },
});

const history = defineCommand({
  name: 'history',
  summary: 'Show how an image came to be, layer by layer, the latest first',
  operands: 'IMAGE',
  options: {
    'no-trunc': { type: 'boolean', description: 'Whole digests and instructions' },
    json: { type: 'boolean', description: 'As a JSON array, the oldest first' },
  },
  async run(context, values, operands) {
    const [image] = takeOperands(operands, 'IMAGE');
    const details = await context.client('tenant').json(imageDetails, '/v1/images/details', { query: { image } });
    if (values.json === true) {
      await print(context.stdout, `${JSON.stringify(details.history, null, 2)}\n`);
      return exitCodes.ok;
    }
    const whole = values['no-trunc'] === true;
    const rows = [...details.history]
      .reverse()
      .map((line) => [
        line.layer === null ? '-' : whole ? line.layer : shortDigest(line.layer),
        age(line.createdAt, context.nowMs()),
        shorten(oneLine(line.createdBy) || '-', whole ? Number.POSITIVE_INFINITY : 48),
        formatSize(line.sizeBytes),
        oneLine(line.comment),
      ]);
    await print(context.stdout, formatTable(['LAYER', 'CREATED', 'CREATED BY', 'SIZE', 'COMMENT'], rows));
    return exitCodes.ok;
  },
});

const inspect = defineCommand({
  name: 'image inspect',
  summary: 'Show all that is known of images, one JSON document each',
  operands: 'IMAGE...',
  options: {},
  async run(context, _values, operands) {
    for (const image of atLeastOne(operands)) {
      const details = await context.client('tenant').json(imageDetails, '/v1/images/details', { query: { image } });
      await print(context.stdout, `${JSON.stringify(details, null, 2)}\n`);
    }
    return exitCodes.ok;
  },
});

const remove = defineCommand({
  name: 'image rm',
  summary: 'Remove tags, and images with their last tag, from the embedded registry',
  operands: 'IMAGE...',
  options: { force: { type: 'boolean', short: 'f', description: 'Also when runs that have not ended need it' } },
  async run(context, values, operands) {
    for (const image of atLeastOne(operands)) {
      const query = { image, force: values.force === true };
      await sayRemoved(context, await context.client('tenant').json(removedImages, '/v1/images', { method: 'DELETE', query }));
    }
    return exitCodes.ok;
  },
});

const prune = defineCommand({
  name: 'image prune',
  summary: 'Remove images that have no tag and that no run needs',
  operands: '',
  options: {
    all: { type: 'boolean', short: 'a', description: 'Tagged images too, when no run that has not ended needs them' },
    'older-than': { type: 'string', value: 'DURATION', description: 'Only what was pushed so long ago; 10m by default' },
  },
  async run(context, values, operands) {
    takeOperands(operands);
    const olderThan = values['older-than'];
    const bound = olderThan === undefined ? {} : { olderThanMs: parseDuration(olderThan, '--older-than') };
    const body = { all: values.all === true, ...bound };
    const removed = await context.client('tenant').json(removedImages, '/v1/images/prune', { method: 'POST', body, repeatable: true });
    await sayRemoved(context, removed);
    await print(context.stdout, `Total reclaimed space: ${formatSize(removed.freedBytes)}\n`);
    return exitCodes.ok;
  },
});

const nodesDf = defineCommand({
  name: 'nodes df',
  summary: "Show the nodes' disks, and what sharing layers saves there",
  operands: '',
  details: 'IMAGES and LAYERS are what a node keeps of pulls; UNSHARED is what they would take if they shared nothing.',
  options: { json: { type: 'boolean', description: 'As a JSON object by node' } },
  async run(context, values, operands) {
    takeOperands(operands);
    const { items } = await context.client('admin').json(nodeList, '/v1/admin/nodes');
    if (values.json === true) {
      const byId = Object.fromEntries(items.map(({ id, disk }) => [id, disk]));
      await print(context.stdout, `${JSON.stringify(byId, null, 2)}\n`);
      return exitCodes.ok;
    }
    const rows = items.map(({ name, disk }) =>
      disk === null
        ? [name, '-', '-', '-', '-', '-', '-']
        : [
            name,
            part(disk.capacityBytes - disk.availableBytes, disk.capacityBytes),
            formatSize(disk.availableBytes),
            String(disk.images),
            String(disk.layers),
            formatSize(disk.totalBytes),
            formatSize(disk.sumOfImagesBytes),
          ],
    );
    await print(context.stdout, formatTable(['NODE', 'USED', 'FREE', 'IMAGES', 'LAYERS', 'SIZE', 'UNSHARED'], rows));
    return exitCodes.ok;
  },
});

export const imageCommands: readonly Command[] = [images, df, history, inspect, remove, prune, nodesDf];

/** One line for each tag, as `docker images` has it. */
function imageTable(found: readonly Image[], nowMs: number, digests: boolean): string {
  const rows = found.flatMap((image) =>
    tagsOf(image).map((tag) => [
      image.repository,
      tag,
      ...(digests ? [image.digest] : []),
      shortDigest(image.digest),
      age(image.pushedAt, nowMs),
      formatSize(image.sizeBytes),
    ]),
  );
  return formatTable(['REPOSITORY', 'TAG', ...(digests ? ['DIGEST'] : []), 'IMAGE ID', 'PUSHED', 'SIZE'], rows);
}

/** As `docker system df -v` has it. */
function usageTable(found: readonly Image[], nowMs: number): string {
  const rows = found.map((image) => [
    image.repository,
    tagsOf(image).join(','),
    shortDigest(image.digest),
    age(image.pushedAt, nowMs),
    formatSize(image.sizeBytes),
    formatSize(image.sizeBytes - image.uniqueBytes),
    formatSize(image.uniqueBytes),
    String(image.activeRuns),
  ]);
  return formatTable(['REPOSITORY', 'TAG', 'IMAGE ID', 'PUSHED', 'SIZE', 'SHARED SIZE', 'UNIQUE SIZE', 'RUNS'], rows);
}

function sharingSentence({ images: count, sumOfImagesBytes, totalBytes }: ImageUsage): string {
  const saved = formatSize(sumOfImagesBytes - totalBytes);
  return `Without shared layers the images (${count}) would take ${formatSize(sumOfImagesBytes)}: sharing saves ${saved}.`;
}

async function sayRemoved(context: Context, { untagged, deleted }: RemovedImages): Promise<void> {
  const lines = [...untagged.map((name) => `Untagged: ${name}\n`), ...deleted.map((name) => `Deleted: ${name}\n`)];
  await print(context.stdout, lines.join(''));
}

async function sayIncomplete(context: Context, isComplete: boolean): Promise<void> {
  if (!isComplete) await print(context.stderr, 'there are more images than one answer can show\n');
}

const tagsOf = ({ tags }: Image): readonly string[] => (tags.length === 0 ? ['<none>'] : tags);
const shortDigest = (digest: string): string => digest.slice('sha256:'.length, 'sha256:'.length + 12);
const isNamed = (repository: string, wanted: string): boolean => repository === wanted || repository.endsWith(`/${wanted}`);
// The image's author wrote it: a terminal must not be told what to do by it.
const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim();
const shorten = (text: string, max: number): string => (text.length > max ? `${text.slice(0, max - 1)}…` : text);

function part(bytes: number, whole: number): string {
  return whole === 0 ? formatSize(bytes) : `${formatSize(bytes)} (${Math.floor((bytes / whole) * 100)}%)`;
}

function age(time: string | null, nowMs: number): string {
  const at = Date.parse(time ?? '');
  // Reproducible builds write the epoch, which is no time.
  return Number.isNaN(at) || at <= 0 ? 'N/A' : `${formatDuration(Math.max(0, nowMs - at))} ago`;
}

function atLeastOne(operands: readonly string[]): readonly string[] {
  if (operands.length === 0) throw new UsageError('IMAGE is missing');
  return operands;
}
