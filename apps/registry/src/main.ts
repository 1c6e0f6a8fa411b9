import { openStore } from '@berth/store';
import pino from 'pino';
import { configFrom } from './config.js';
import { startRegistry } from './start-registry.js';

const stopGraceMs = 10_000;
const logger = pino({ name: 'registry', level: process.env.BERTH_LOG_LEVEL ?? 'info' }, pino.destination({ dest: 2, sync: true }));

async function main(): Promise<void> {
  const config = configFrom(process.env);
  const store = openStore({ url: config.databaseUrl, poolSize: 4 });
  const registry = await startRegistry(config, store, logger);
  process.stdout.write(`listening on ${registry.url} admin ${registry.adminUrl}\n`);

  const stopSignal = await new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  logger.info({ signal: stopSignal }, 'stopping');
  await registry.close(stopGraceMs);
  await store.close();
}

main().catch((error: unknown) => {
  logger.fatal({ err: error }, 'the registry cannot run');
  process.exitCode = 1;
});
