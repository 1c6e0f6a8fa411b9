import { describe, expect, it } from 'vitest';
import { commands, runCli } from './cli.js';
import type { Context } from './command.js';

async function cli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const said = { stdout: '', stderr: '' };
  const target = (name: keyof typeof said): { write(bytes: Uint8Array): Promise<void> } => ({
    write: async (bytes) => {
      said[name] += Buffer.from(bytes).toString();
    },
  });
  const context: Context = {
    environment: {},
    stdout: { ...target('stdout'), isTerminal: false },
    stderr: target('stderr'),
    client: () => {
      throw new Error('the service was asked');
    },
    nowMs: () => 0,
    onInterrupt: () => () => undefined,
  };
  return { code: await runCli(args, context), ...said };
}

describe('a command line', () => {
  it.each(commands.map(({ name }) => name))('%s --help shows the usage and every option', async (name) => {
    const { code, stdout } = await cli(...name.split(' '), '--help');
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: berth ${name} [OPTIONS]`);
    expect(stdout).toContain('--help');
  });

  it('lists every command', async () => {
    for (const args of [['--help'], ['help'], ['-h']]) {
      const { code, stdout } = await cli(...args);
      expect(code).toBe(0);
      for (const { name, summary } of commands) expect(stdout).toMatch(new RegExp(`${name} +${summary.slice(0, 10)}`));
    }
  });

  it.each([
    [[], 'a command is missing'],
    [['launch'], 'there is no command launch'],
    [['tenants'], 'there is no command tenants'],
    [['run'], 'IMAGE is missing'],
    [['run', '-d'], 'IMAGE is missing'],
    [['run', '--memory', '1x', 'image'], '--memory 1x'],
    [['run', '--memory'], '--memory'],
    [['run', '--unknown', 'image'], '--unknown'],
    [['run', '-t', 'image'], '-t'],
    [['run', '-d', '--rm', 'image'], '--rm'],
    [['ps', 'extra'], 'unexpected argument extra'],
    [['ps', '--state', 'dead'], '--state dead'],
    [['logs'], 'RUN is missing'],
    [['logs', 'a', 'b'], 'unexpected argument b'],
    [['stop'], 'RUN is missing'],
    [['image', 'rm'], 'IMAGE is missing'],
    [['history'], 'IMAGE is missing'],
    [['df', 'extra'], 'unexpected argument extra'],
    [['images', 'a', 'b'], 'unexpected argument b'],
    [['wait'], 'RUN is missing'],
    [['keys', 'revoke'], 'KEY is missing'],
    [['tenants', 'create', 'acme', '--cpus', 'x'], '--cpus x'],
    [['tenants', 'update', 'acme', '--retain-runs', 'soon'], '--retain-runs soon'],
  ])('%j is answered with 2 and %j', async (args, message) => {
    // Tenants' operands are resolved by the service, so flags must be judged before it is asked.
    const { code, stderr, stdout } = await cli(...args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/See berth .*--help\n$/);
  });

  it('of run ends at the image: what follows belongs to the container', async () => {
    await expect(cli('run', '-e', 'A=1', 'image', '--memory', 'nonsense', '-t')).rejects.toThrow('the service was asked');
    await expect(cli('run', '--', 'image', '--help')).rejects.toThrow('the service was asked');
    await expect(cli('run', 'image', '--', '--help')).rejects.toThrow('the service was asked');
  });
});
