/**
 * Lets one loop sleep until something rings or time is up. A ring while nobody sleeps is not lost: the next sleep ends at once. So a loop that
 * looks, then sleeps, misses nothing that happened while it looked.
 */
export class Alarm {
  private rung = false;
  private wakeSleeper: (() => void) | null = null;

  readonly ring = (): void => {
    this.rung = true;
    this.wakeSleeper?.();
  };

  /** Resolves when rung or after `ms`, and at once when the signal is aborted. */
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.wakeSleeper = () => {
          clearTimeout(timer);
          resolve();
        };
        signal.addEventListener('abort', this.wakeSleeper, { once: true });
      });
      if (this.wakeSleeper !== null) signal.removeEventListener('abort', this.wakeSleeper);
      this.wakeSleeper = null;
    }
    this.rung = false;
  }
}
