import { type Command, type Context, print } from './command.js';
import { accessCommands } from './commands/access.js';
import { adminCommands, quota } from './commands/admin.js';
import { archiveCommands } from './commands/image-archives.js';
import { imageCommands } from './commands/images.js';
import { runCommand } from './commands/run.js';
import { commit, diff } from './commands/run-files.js';
import { explain, inspect, logs, ps, rm, stop, wait } from './commands/runs.js';
import { usageCommands } from './commands/usage.js';
import { exitCodes, ProblemError, ServiceError, UsageError } from './failures.js';
import { describeProblem } from './problem-text.js';

export const commands: readonly Command[] = [
  runCommand,
  ps,
  logs,
  wait,
  stop,
  inspect,
  explain,
  diff,
  commit,
  rm,
  quota,
  ...usageCommands,
  ...imageCommands,
  ...archiveCommands,
  ...accessCommands,
  ...adminCommands,
];

/** Runs one command line, without the program's own name, and answers the exit code. Refusals and mistakes are told on stderr. */
export async function runCli(args: readonly string[], context: Context): Promise<number> {
  const found = findCommand(args);
  try {
    if (found === 'help') {
      await print(context.stdout, overview());
      return exitCodes.ok;
    }
    if (found === null) throw new UsageError(args.length === 0 ? 'a command is missing' : `there is no command ${args[0]}`);
    return await found.command.execute(context, found.rest);
  } catch (error) {
    if (error instanceof UsageError) {
      const name = found === null || found === 'help' ? '' : `${found.command.name} `;
      await print(context.stderr, `error: ${error.message}\nSee berth ${name}--help\n`);
      return exitCodes.usage;
    }
    if (error instanceof ProblemError) {
      await print(context.stderr, `${describeProblem(error.problem, error.retryAfterSeconds)}\n`);
      return exitCodes.berth;
    }
    if (error instanceof ServiceError) {
      await print(context.stderr, `error: ${error.message}\n`);
      return exitCodes.berth;
    }
    throw error;
  }
}

function findCommand(args: readonly string[]): { command: Command; rest: readonly string[] } | 'help' | null {
  const [first, second] = args;
  if (first === '--help' || first === 'help' || first === '-h') return 'help';
  const two = commands.find(({ name }) => name === `${first} ${second}`);
  if (two !== undefined) return { command: two, rest: args.slice(2) };
  const one = commands.find(({ name }) => name === first);
  return one === undefined ? null : { command: one, rest: args.slice(1) };
}

function overview(): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}\n`).join('');
  return (
    `Usage: berth COMMAND [OPTIONS] ...\n\nRuns containers on Berth.\n\nCommands:\n${lines}\n` +
    'berth COMMAND --help tells more. The service is found by BERTH_URL and BERTH_API_KEY, or else by the keys.json\n' +
    'that npm start writes to BERTH_HOME (~/.berth, /var/lib/berth for root).\n'
  );
}
