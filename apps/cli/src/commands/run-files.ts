import { commitResult, runDiff } from '@berth/wire';
import { defineCommand, print, takeOperands } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { findRun } from '../runs.js';

export const diff = defineCommand({
  name: 'diff',
  summary: 'List what a running run has written to its filesystem: added (A), changed (C), deleted (D)',
  operands: 'RUN',
  options: { json: { type: 'boolean', description: 'As JSON' } },
  async run(context, values, operands) {
    const [operand] = takeOperands(operands, 'RUN');
    const client = context.client('tenant');
    const { id } = await findRun(client, operand);
    const found = await client.json(runDiff, `/v1/runs/${id}/diff`);
    const lines = found.changes.map(({ kind, path }) => `${kind} ${visible(path)}\n`).join('');
    await print(context.stdout, values.json === true ? `${JSON.stringify(found, null, 2)}\n` : lines);
    if (found.truncated) await print(context.stderr, `these are the first ${found.changes.length}; there are more\n`);
    return exitCodes.ok;
  },
});

export const commit = defineCommand({
  name: 'commit',
  summary: 'Make an image of a running run and what it has written',
  operands: 'RUN NAME[:TAG]',
  details:
    'The image is pushed as registry.berth/TENANT/NAME:TAG, and latest where there is no tag. The container stands still while its files are read.',
  options: { json: { type: 'boolean', description: 'As JSON' } },
  async run(context, values, operands) {
    const [operand, target] = takeOperands(operands, 'RUN', 'NAME[:TAG]');
    const client = context.client('tenant');
    const { id } = await findRun(client, operand);
    const [name, tag, ...rest] = target.split(':');
    if (rest.length > 0) throw new UsageError(`${target}: must be NAME or NAME:TAG`);
    const made = await client.json(commitResult, `/v1/runs/${id}/commit`, {
      method: 'POST',
      body: { name, ...(tag === undefined ? {} : { tag }) },
    });
    await print(context.stdout, values.json === true ? `${JSON.stringify(made, null, 2)}\n` : `${made.image}@${made.digest}\n`);
    return exitCodes.ok;
  },
});

/** The container chose the name: what would end the line or command the terminal is shown as an escape. */
function visible(path: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for.
  return path.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
