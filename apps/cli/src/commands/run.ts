import { randomUUID } from 'node:crypto';
import { type CreateRunRequest, quote, run } from '@berth/wire';
import { type ApiClient, longPatienceMs } from '../api/api-client.js';
import { copyExact, copyInOrder } from '../api/run-output.js';
import { type Context, defineCommand, print } from '../command.js';
import { exitCodes, UsageError } from '../failures.js';
import { describeQuote, exitCodeOf, explainEnd, waitForEnd } from '../runs.js';
import { requestFromFlags, runFlags } from '../submission/run-flags.js';

export const runCommand = defineCommand({
  name: 'run',
  summary: 'Run a container, show its output and exit as it does',
  operands: 'IMAGE [ARG...]',
  details:
    "ARGs replace the image's command. Options stand before IMAGE; everything behind it is the container's. Ctrl-C stops the run, a second\n" +
    "Ctrl-C leaves it to stop by itself. Exits with the container's code, 128 + signal when it was killed, 125 when Berth failed.",
  optionsFirst: true,
  options: {
    detach: { type: 'boolean', short: 'd', description: 'Print the id and leave the run to itself' },
    'dry-run': { type: 'boolean', description: 'Submit nothing: print what would become of the run, and what it would take' },
    json: { type: 'boolean', description: 'With --dry-run: as a JSON object' },
    rm: { type: 'boolean', description: 'Forget the run and its logs after its end' },
    'idempotency-key': {
      type: 'string',
      value: 'KEY',
      description: 'The same key and request again give the same run, never a second one',
    },
    ...runFlags,
  },
  async run(context, values, operands) {
    const [image, ...args] = operands;
    if (image === undefined) throw new UsageError('IMAGE is missing');
    if (values.detach === true && values.rm === true) throw new UsageError('--rm needs someone who waits: it cannot go with --detach');
    const request = requestFromFlags(image, args, values, context.environment);
    const client = context.client('tenant');
    if (values['dry-run'] === true) {
      const quoted = await client.json(quote, '/v1/runs', { method: 'POST', body: { ...request, dryRun: true }, repeatable: true });
      const text = values.json === true ? JSON.stringify(quoted, null, 2) : describeQuote(quoted, context.nowMs());
      await print(context.stdout, `${text}\n`);
      return exitCodes.ok;
    }
    if (values.json === true) throw new UsageError('--json goes with --dry-run only');
    const id = await submit(context, client, request, values['idempotency-key'] ?? randomUUID());
    if (values.detach === true) {
      await print(context.stdout, `${id}\n`);
      return exitCodes.ok;
    }
    const code = await attend(context, client, id);
    if (values.rm === true) await client.nothing(`/v1/runs/${id}`, { method: 'DELETE' });
    return code;
  },
});

async function submit(context: Context, client: ApiClient, body: CreateRunRequest, idempotencyKey: string): Promise<string> {
  // With an idempotency key the request may be repeated: an answer that got lost makes no second run.
  const headers = { 'idempotency-key': idempotencyKey };
  const created = await client.json(run, '/v1/runs', { method: 'POST', body, headers, repeatable: true });
  if (created.waitingFor !== null) {
    const reason = created.waitingReason === null ? '' : ` (${created.waitingReason})`;
    await print(context.stderr, `${created.id} waits for ${created.waitingFor}${reason}\n`);
  }
  return created.id;
}

async function attend(context: Context, client: ApiClient, id: string): Promise<number> {
  let release = (): void => undefined;
  const abandoned = new Promise<'abandoned'>((resolve) => {
    let interrupts = 0;
    release = context.onInterrupt(() => {
      interrupts += 1;
      if (interrupts > 1) return resolve('abandoned');
      client
        .json(run, `/v1/runs/${id}/cancel`, { method: 'POST', repeatable: true, patienceMs: longPatienceMs })
        .catch(() => resolve('abandoned'));
    });
  });
  try {
    const copy = context.stdout.isTerminal ? copyInOrder : copyExact;
    const ended = copy(client, id, { follow: true, attempt: undefined }, context.stdout, context.stderr).then(() => waitForEnd(client, id));
    const outcome = await Promise.race([ended, abandoned]);
    if (outcome === 'abandoned') {
      await print(context.stderr, `${id} may still be running: berth stop ${id}\n`);
      return exitCodes.interrupted;
    }
    const explanation = explainEnd(outcome);
    if (explanation !== null) await print(context.stderr, `${explanation}\n`);
    return exitCodeOf(outcome);
  } finally {
    release();
  }
}
