import { readConfig } from './config.js';
import { createLogger } from './logger.js';
import { startControlPlane } from './start-control-plane.js';

/** Ends a stop that hangs; a supervisor's patience is longer. */
const stopMs = 25_000;

const bootLogger = createLogger('info');
try {
  const config = readConfig(process.env);
  const logger = createLogger(config.logLevel);
  const controlPlane = await startControlPlane(config, logger);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      logger.info({ signal }, 'stopping');
      setTimeout(() => process.exit(1), stopMs).unref();
      controlPlane.close().then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error({ err: error }, 'stop');
          process.exit(1);
        },
      );
    });
  }
  process.stdout.write(`listening on ${controlPlane.url} admin ${controlPlane.adminUrl}\n`);
} catch (error) {
  bootLogger.fatal({ err: error }, error instanceof Error ? error.message : 'start');
  process.exit(1);
}
