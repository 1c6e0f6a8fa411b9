import { once } from 'node:events';
import { ApiClient } from './api/api-client.js';
import type { OutputTarget } from './api/run-output.js';
import { runCli } from './cli.js';
import type { Context } from './command.js';
import { exitCodes } from './failures.js';
import { readSettings } from './settings.js';

function target(stream: NodeJS.WriteStream): OutputTarget {
  // Whoever reads us may have had enough (head, a pager): that is no error of ours.
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? exitCodes.ok : exitCodes.berth));
  return {
    write: async (bytes) => {
      if (!stream.write(bytes)) await once(stream, 'drain');
    },
  };
}

const context: Context = {
  environment: process.env,
  stdout: { ...target(process.stdout), isTerminal: process.stdout.isTTY === true },
  stderr: target(process.stderr),
  client: (kind) => {
    const settings = readSettings(process.env);
    return new ApiClient(settings.url, settings.key(kind));
  },
  nowMs: () => Date.now(),
  onInterrupt: (handler) => {
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
    for (const signal of signals) process.on(signal, handler);
    return () => {
      for (const signal of signals) process.off(signal, handler);
    };
  },
};

const code = await runCli(process.argv.slice(2), context).catch((error: unknown) => {
  process.stderr.write(`error: this is a bug in berth: ${error instanceof Error ? error.stack : String(error)}\n`);
  return exitCodes.berth;
});
// Idle connections would keep the process for seconds; what was written to a pipe has to go first.
process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
