import { connect, type Socket } from 'node:net';
import { type ShimLaunch, ShimLaunchError, type ShimStarted } from './shim-launcher.js';
import { parseAnswer } from './spawn-shim-launcher.js';

const holdTimeoutMs = 5_000;
const claimTimeoutMs = 60_000;

/** What a claim says of a container besides its bundle: what the options of a start would have been. */
export type ShimClaim = Pick<ShimLaunch, 'timeoutMs' | 'stopGraceMs' | 'stopSignal' | 'logMaxBytes'> & { readonly leased: boolean };

/**
 * The hold on a container that waits under its shim (docs/contracts.md, "Parked containers"). The container is this object's: when the connection ends, by
 * `release` or with this process, it goes, and nothing of it is left.
 */
export class ParkedShim {
  #answered: ((line: string | null) => void) | null = null;

  private constructor(private readonly socket: Socket) {
    let unread = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      unread += text;
      const end = unread.indexOf('\n');
      if (end < 0) return;
      this.settle(unread.slice(0, end));
      unread = unread.slice(end + 1);
    });
    socket.on('error', () => {});
    socket.on('close', () => this.settle(null));
    // A container that nobody has claimed keeps no process alive.
    socket.unref();
  }

  /** Takes hold of the container at `socketPath`. Throws ShimLaunchError when it is gone or another's. */
  static async hold(socketPath: string): Promise<ParkedShim> {
    const parked = new ParkedShim(connect(socketPath));
    const answer = await parked.ask({ op: 'hold' }, holdTimeoutMs);
    if (answer === '{}') return parked;
    parked.release();
    throw new ShimLaunchError('the parked container is not there to be held');
  }

  /** Whether the container still waits. */
  get isThere(): boolean {
    return !this.socket.destroyed && this.socket.readable;
  }

  /** Calls back once when it is gone. */
  onGone(callback: () => void): void {
    this.socket.once('close', callback);
  }

  /** Has it run the bundle's config.json as that is now. Throws ShimLaunchError with the runtime's reason; then nothing is left of it. */
  async claim(claim: ShimClaim): Promise<ShimStarted> {
    const answer = await this.ask({ op: 'claim', ...claim }, claimTimeoutMs);
    this.release();
    return parseAnswer(answer ?? '', 'the shim ended with its claim unanswered');
  }

  /** Lets go: a container that was not claimed ends. */
  release(): void {
    this.socket.destroy();
  }

  private ask(request: object, timeoutMs: number): Promise<string | null> {
    return new Promise((resolve) => {
      if (this.socket.destroyed) {
        resolve(null);
        return;
      }
      const timer = setTimeout(() => this.settle(null), timeoutMs);
      this.#answered = (line) => {
        clearTimeout(timer);
        resolve(line);
      };
      this.socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  private settle(line: string | null): void {
    const answered = this.#answered;
    this.#answered = null;
    answered?.(line);
  }
}
