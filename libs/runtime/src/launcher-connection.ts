import { createConnection, type Socket } from 'node:net';

/** How a program that the launcher started has ended, and what it said. */
export interface ProgramEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The launcher is gone, or stuck. Whether it has started the program is not known. */
export class LauncherLost extends Error {
  override readonly name = 'LauncherLost';
}

interface Waiting {
  readonly heard: () => void;
  readonly resolve: (end: ProgramEnd) => void;
  readonly reject: (error: Error) => void;
}

/** Within so long a launcher that works has started a program or refused to. */
const startMs = 2_000;

/** One connection to berth-launcher (docs/contracts.md): any number of programs at a time, each request by its number. */
export class LauncherConnection {
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #unread = '';

  private constructor(private readonly socket: Socket) {
    socket.setEncoding('utf8').on('data', (text: string) => this.read(text));
    socket.on('error', () => {});
    socket.on('close', () => this.lose());
    // It alone keeps no process alive; who waits for an answer has a timer that does.
    socket.unref();
  }

  /** Rejects when nobody listens there. */
  static open(path: string): Promise<LauncherConnection> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new LauncherConnection(socket));
      });
    });
  }

  get isOpen(): boolean {
    return !this.socket.destroyed;
  }

  /** Starts a program by its bare name and waits for its end. Throws LauncherLost, or an Error when the program cannot be started or takes too long. */
  run(program: string, args: readonly string[], timeoutMs: number): Promise<ProgramEnd> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      const settle = (): void => {
        clearTimeout(startTimer);
        clearTimeout(endTimer);
        this.#waiting.delete(id);
      };
      const startTimer = setTimeout(() => this.close(), startMs);
      const endTimer = setTimeout(() => {
        settle();
        reject(new Error(`${program} did not end within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting.set(id, {
        heard: () => clearTimeout(startTimer),
        resolve: (end) => {
          settle();
          resolve(end);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      if (this.isOpen) this.socket.write(`${JSON.stringify({ id, program, args })}\n`);
      else this.lose();
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private read(text: string): void {
    const lines = `${this.#unread}${text}`.split('\n');
    this.#unread = lines.pop() ?? '';
    for (const line of lines) this.hear(JSON.parse(line) as Record<string, unknown>);
  }

  private hear(answer: Record<string, unknown>): void {
    const waiting = this.#waiting.get(Number(answer.id));
    if (typeof answer.error === 'string') waiting?.reject(new Error(answer.error));
    else if (answer.stdout === undefined) waiting?.heard();
    else {
      const code = typeof answer.code === 'number' ? answer.code : null;
      waiting?.resolve({ code, stdout: String(answer.stdout), stderr: String(answer.stderr) });
    }
  }

  private lose(): void {
    for (const waiting of [...this.#waiting.values()]) waiting.reject(new LauncherLost('the launcher is gone'));
  }
}
