import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../main.js', import.meta.url));

/** An agent as a process of its own, as it runs in earnest. */
export class AgentProcess {
  readonly #ended: Promise<void>;
  log = '';

  private constructor(
    readonly child: ChildProcess,
    readonly port: Promise<number>,
  ) {
    this.#ended = new Promise((resolve) => child.once('close', () => resolve()));
  }

  /** Starts an agent with this environment on top of the test's own; resolves when it listens. */
  static async start(env: Readonly<Record<string, string>>): Promise<AgentProcess> {
    const child = spawn(process.execPath, [program], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    // A test run that is broken off takes its agents along.
    const takeAlong = (): boolean => child.kill('SIGKILL');
    process.once('exit', takeAlong);
    child.once('close', () => process.off('exit', takeAlong));
    let text = '';
    let heard = (_: number): void => {};
    let failed = (_: Error): void => {};
    const port = new Promise<number>((resolve, reject) => {
      heard = resolve;
      failed = reject;
    });
    const agent = new AgentProcess(child, port);
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      const found = /listening on http:\/\/127\.0\.0\.1:([0-9]+)/.exec(text);
      if (found !== null) heard(Number(found[1]));
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      agent.log += chunk;
    });
    child.once('close', (code, signal) => failed(new Error(`the agent ended with ${code ?? signal}: ${agent.log.slice(-2000)}`)));
    await port;
    return agent;
  }

  async fetch(path: string): Promise<Response> {
    return fetch(`http://127.0.0.1:${await this.port}${path}`);
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal);
    await this.#ended;
  }

  get exitCode(): number | null {
    return this.child.exitCode;
  }
}

/** Where the native programs are, for tests. */
export function nativeDirectory(): string {
  return process.env.BERTH_NATIVE_DIR ?? join(fileURLToPath(new URL('../../../..', import.meta.url)), 'native/build');
}
