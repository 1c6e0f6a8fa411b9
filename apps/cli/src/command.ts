import { parseArgs } from 'node:util';
import type { ApiClient } from './api/api-client.js';
import type { OutputTarget } from './api/run-output.js';
import { UsageError } from './failures.js';
import type { KeyKind } from './settings.js';

/** What a command has of the world. */
export interface Context {
  readonly environment: NodeJS.ProcessEnv;
  readonly stdout: OutputTarget & { readonly isTerminal: boolean };
  readonly stderr: OutputTarget;
  client(kind: KeyKind): ApiClient;
  nowMs(): number;
  /** Calls `handler` at each SIGINT, SIGTERM or SIGHUP instead of ending, until the returned function is called. */
  onInterrupt(handler: () => void): () => void;
}

export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for the value in the help, e.g. `SIZE`. */
  readonly value?: string;
  readonly description: string;
}
export type Options = Readonly<Record<string, Option>>;

export type Values<O extends Options> = {
  readonly [Name in keyof O]?: O[Name] extends { type: 'boolean' } ? boolean : O[Name] extends { multiple: true } ? string[] : string;
};

export interface Definition<O extends Options> {
  /** One word, or two: `tenants create`. */
  readonly name: string;
  readonly summary: string;
  /** What follows the options, e.g. `IMAGE [ARG...]`. */
  readonly operands: string;
  readonly details?: string;
  readonly options: O;
  /** Options end at the first operand: what follows belongs to the container. */
  readonly optionsFirst?: boolean;
  /** Answers the exit code. */
  run(context: Context, values: Values<O>, operands: readonly string[]): Promise<number>;
}

export interface Command {
  readonly name: string;
  readonly summary: string;
  readonly help: string;
  execute(context: Context, args: readonly string[]): Promise<number>;
}

const helpOption = { type: 'boolean', description: 'Show this help' } as const;

/** Makes a command of its definition: reads its line, answers --help, says what is wrong with the line. */
export function defineCommand<O extends Options>(definition: Definition<O>): Command {
  const help = helpText(definition);
  return {
    name: definition.name,
    summary: definition.summary,
    help,
    execute: async (context, args) => {
      const { values, operands } = parseLine(definition, args);
      if (values.help === true) {
        await context.stdout.write(Buffer.from(help));
        return 0;
      }
      return definition.run(context, values as Values<O>, operands);
    },
  };
}

/** Writes a text to a target. */
export function print(target: OutputTarget, text: string): Promise<void> {
  return target.write(Buffer.from(text));
}

/** The operands by number, or a UsageError that shows how the command is called. */
export function takeOperands<const Names extends readonly string[]>(
  operands: readonly string[],
  ...names: Names
): { [Index in keyof Names]: string } {
  const missing = names[operands.length];
  if (missing !== undefined) throw new UsageError(`${missing} is missing`);
  if (operands.length > names.length) throw new UsageError(`unexpected argument ${operands[names.length]}`);
  return operands as { [Index in keyof Names]: string };
}

function parseLine<O extends Options>(
  definition: Definition<O>,
  args: readonly string[],
): { values: Record<string, unknown>; operands: string[] } {
  const options = Object.fromEntries(
    Object.entries({ ...definition.options, help: helpOption } as Options).map(([name, { type, short, multiple }]) => [
      name,
      { type, ...(short === undefined ? {} : { short }), ...(multiple === undefined ? {} : { multiple }) },
    ]),
  );
  try {
    if (definition.optionsFirst !== true) {
      const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
      return { values, operands: positionals };
    }
    const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
    const first = tokens.find(({ kind }) => kind !== 'option');
    const end = first?.index ?? args.length;
    const { values } = parseArgs({ args: args.slice(0, end), options });
    return { values, operands: args.slice(first?.kind === 'option-terminator' ? end + 1 : end) };
  } catch (error) {
    // parseArgs explains at length how to pass an operand that looks like an option; the first sentence is enough.
    if ((error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS_') === true)
      throw new UsageError(`${(error as Error).message.split(/\. |\n/)[0]}`);
    throw error;
  }
}

function helpText<O extends Options>({ name, summary, operands, details, options }: Definition<O>): string {
  const rows = Object.entries({ ...options, help: helpOption } as Options).map(([long, option]) => {
    const short = option.short === undefined ? '    ' : `-${option.short}, `;
    const value = option.type === 'boolean' ? '' : ` ${option.value ?? 'TEXT'}`;
    return [`  ${short}--${long}${value}`, option.description] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, right]) => `${left.padEnd(width)}  ${right}\n`).join('');
  const usage = `Usage: berth ${name} [OPTIONS]${operands === '' ? '' : ` ${operands}`}\n`;
  return `${usage}\n${summary}.\n${details === undefined ? '' : `\n${details}\n`}\nOptions:\n${lines}`;
}
