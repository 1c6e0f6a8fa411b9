import { explanation, type Run, run, runList, runState, runStates } from '@berth/wire';
import type { ApiClient } from '../api/api-client.js';
import { copyExact, copyInOrder } from '../api/run-output.js';
import { defineCommand, print, takeOperands } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { describeDuration, describeExplanation, describeState, exitCodeOf, findRun, isTerminal, waitForEnd } from '../runs.js';
import { nameLabel } from '../submission/run-flags.js';
import { formatTable } from '../table.js';
import { formatDuration, parseDuration, parseWhole } from '../units.js';

const active = runStates.filter((state) => !['succeeded', 'failed', 'canceled'].includes(state));
const pageSize = 200;

export const ps = defineCommand({
  name: 'ps',
  summary: 'List runs that have not ended',
  operands: '',
  options: {
    all: { type: 'boolean', short: 'a', description: 'Those that have ended, too' },
    state: { type: 'string', value: 'STATE', description: `Only those in one state: ${runStates.join(', ')}` },
    label: { type: 'string', short: 'l', value: 'KEY=VALUE', description: 'Only those with this label' },
    last: { type: 'string', short: 'n', value: 'NUMBER', description: 'At most so many, the latest; 50 by default' },
    quiet: { type: 'boolean', short: 'q', description: 'Ids alone' },
    json: { type: 'boolean', description: 'As a JSON array' },
  },
  async run(context, values, operands) {
    takeOperands(operands);
    const limit = values.last === undefined ? 50 : parseWhole(values.last, '--last');
    const state = values.state === undefined ? undefined : runState.safeParse(values.state);
    if (state?.success === false) throw new UsageError(`--state ${values.state}: one of ${runStates.join(', ')}`);
    const client = context.client('tenant');
    const states = state !== undefined ? [state.data] : values.all === true ? [undefined] : active;
    const lists = await Promise.all(states.map((one) => latestRuns(client, { state: one, label: values.label }, limit)));
    // Ids of one kind sort by age.
    const runs = lists
      .flat()
      .sort((a, b) => (a.id < b.id ? 1 : -1))
      .slice(0, limit);
    if (values.json === true) await print(context.stdout, `${JSON.stringify(runs, null, 2)}\n`);
    else if (values.quiet === true) await print(context.stdout, runs.map(({ id }) => `${id}\n`).join(''));
    else await print(context.stdout, runTable(runs, context.nowMs()));
    return exitCodes.ok;
  },
});

export const logs = defineCommand({
  name: 'logs',
  summary: "Show a run's output",
  operands: 'RUN',
  options: {
    follow: { type: 'boolean', short: 'f', description: 'Go on until the run ends' },
    attempt: { type: 'string', value: 'NUMBER', description: 'Of this attempt; the last one by default' },
  },
  async run(context, values, operands) {
    const [operand] = takeOperands(operands, 'RUN');
    const client = context.client('tenant');
    const { id } = await findRun(client, operand);
    const attempt = values.attempt === undefined ? undefined : parseWhole(values.attempt, '--attempt');
    const copy = context.stdout.isTerminal ? copyInOrder : copyExact;
    await copy(client, id, { follow: values.follow === true, attempt }, context.stdout, context.stderr);
    return exitCodes.ok;
  },
});

export const wait = defineCommand({
  name: 'wait',
  summary: 'Wait until runs end, and print their exit codes',
  operands: 'RUN...',
  options: {
    timeout: { type: 'string', value: 'DURATION', description: `Give up so much later and exit with ${exitCodes.waitTimedOut}` },
    'exit-code': { type: 'boolean', description: "Exit with the last run's code" },
  },
  async run(context, values, operands) {
    const deadline = values.timeout === undefined ? undefined : performance.now() + parseDuration(values.timeout, '--timeout');
    let code: number = exitCodes.ok;
    for (const operand of atLeastOne(operands)) {
      const client = context.client('tenant');
      const ended = await waitForEnd(client, (await findRun(client, operand)).id, deadline);
      if (!isTerminal(ended)) {
        await print(context.stderr, `${ended.id} is still ${describeState(ended)}\n`);
        return exitCodes.waitTimedOut;
      }
      code = exitCodeOf(ended);
      await print(context.stdout, `${code}\n`);
    }
    return values['exit-code'] === true ? code : exitCodes.ok;
  },
});

export const stop = defineCommand({
  name: 'stop',
  summary: 'Stop runs: the stop signal, the grace, SIGKILL',
  operands: 'RUN...',
  options: { 'no-wait': { type: 'boolean', description: 'Do not wait for their end' } },
  async run(context, values, operands) {
    for (const operand of atLeastOne(operands)) {
      const client = context.client('tenant');
      const id = await cancel(client, operand);
      if (values['no-wait'] !== true) await waitForEnd(client, id);
      await print(context.stdout, `${id}\n`);
    }
    return exitCodes.ok;
  },
});

export const inspect = defineCommand({
  name: 'inspect',
  summary: 'Show all that is known of runs, one JSON document each',
  operands: 'RUN...',
  options: {},
  async run(context, _values, operands) {
    for (const operand of atLeastOne(operands))
      await print(context.stdout, `${JSON.stringify(await findRun(context.client('tenant'), operand), null, 2)}\n`);
    return exitCodes.ok;
  },
});

export const explain = defineCommand({
  name: 'explain',
  summary: 'Tell why a run has not started, and what has to happen',
  operands: 'RUN',
  options: { json: { type: 'boolean', description: 'As JSON' } },
  async run(context, values, operands) {
    const [operand] = takeOperands(operands, 'RUN');
    const client = context.client('tenant');
    const { id } = await findRun(client, operand);
    const explained = await client.json(explanation, `/v1/runs/${id}/explain`);
    const text = values.json === true ? JSON.stringify(explained, null, 2) : describeExplanation(explained, context.nowMs());
    await print(context.stdout, `${text}\n`);
    return exitCodes.ok;
  },
});

export const rm = defineCommand({
  name: 'rm',
  summary: 'Forget runs that have ended, with their logs',
  operands: 'RUN...',
  options: { force: { type: 'boolean', short: 'f', description: 'Stop them first' } },
  async run(context, values, operands) {
    for (const operand of atLeastOne(operands)) {
      const client = context.client('tenant');
      const { id } = await findRun(client, operand);
      if (values.force === true) await waitForEnd(client, await cancel(client, id));
      await client.nothing(`/v1/runs/${id}`, { method: 'DELETE' });
      await print(context.stdout, `${id}\n`);
    }
    return exitCodes.ok;
  },
});

async function cancel(client: ApiClient, operand: string): Promise<string> {
  const { id } = await findRun(client, operand);
  await client.json(run, `/v1/runs/${id}/cancel`, { method: 'POST', repeatable: true });
  return id;
}

async function latestRuns(
  client: ApiClient,
  filter: { state: Run['state'] | undefined; label: string | undefined },
  limit: number,
): Promise<Run[]> {
  const found: Run[] = [];
  let cursor: string | undefined;
  while (found.length < limit) {
    const page = await client.json(runList, '/v1/runs', { query: { ...filter, limit: Math.min(pageSize, limit - found.length), cursor } });
    found.push(...page.items);
    if (page.nextCursor === null) break;
    cursor = page.nextCursor;
  }
  return found;
}

function runTable(runs: readonly Run[], nowMs: number): string {
  const rows = runs.map((one) => [
    one.id,
    one.image,
    describeState(one),
    `${formatDuration(nowMs - Date.parse(one.createdAt))} ago`,
    describeDuration(one, nowMs),
    one.spec.labels[nameLabel] ?? '',
  ]);
  return formatTable(['RUN', 'IMAGE', 'STATE', 'CREATED', 'RAN', 'NAME'], rows);
}

function atLeastOne(operands: readonly string[]): readonly string[] {
  if (operands.length === 0) throw new UsageError('RUN is missing');
  return operands;
}
