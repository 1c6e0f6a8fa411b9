import type { LoggerService } from '@nestjs/common';
import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** The injection token of the process's `Logger`. */
export const LOGGER = Symbol('Logger');

/** JSON lines on stderr. Whatever could hold a credential is cut out of them, should it ever be logged. */
export function createLogger(level: string): Logger {
  return pino(
    {
      level,
      base: { service: 'control-plane' },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: ['*.authorization', '*.secret', '*.token', '*.credential', '*.pullAuthorization', '*.env'],
    },
    pino.destination({ fd: 2, sync: true }),
  );
}

/** Nest's own messages through the same logger; its chatter at start-up only at `debug`. */
export function nestLogger(logger: Logger): LoggerService {
  const write =
    (level: 'debug' | 'warn' | 'error' | 'fatal') =>
    (message: unknown, ...rest: unknown[]) =>
      logger[level]({ context: rest.at(-1) }, message instanceof Error ? message.message : String(message));
  return {
    log: write('debug'),
    debug: write('debug'),
    verbose: write('debug'),
    warn: write('warn'),
    error: write('error'),
    fatal: write('fatal'),
  };
}
