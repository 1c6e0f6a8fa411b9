/**
 * Runs one piece of work at a time, and once more for all who asked meanwhile: however many ask, each is answered by a pass that began after it asked.
 */
export class SingleFlight<T = void> {
  private current: Promise<T> | null = null;
  private following: Promise<T> | null = null;

  constructor(private readonly work: () => Promise<T>) {}

  get isIdle(): boolean {
    return this.current === null;
  }

  /** Resolves, or rejects, with a pass that began after this call. */
  run(): Promise<T> {
    if (this.current === null) {
      this.current = this.work().finally(() => {
        this.current = null;
      });
      return this.current;
    }
    const next = () => {
      this.following = null;
      return this.run();
    };
    this.following ??= this.current.then(next, next);
    return this.following;
  }

  /** Resolves when nothing runs any more; never rejects. */
  async settled(): Promise<void> {
    while (this.current !== null) await this.current.catch(() => undefined);
  }
}
