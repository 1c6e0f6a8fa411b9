interface Following<T> {
  readonly pass: Promise<T>;
  readonly begin: () => void;
}

/**
 * Runs at most `atOnce` passes of one piece of work at a time, and once more for all who asked meanwhile: however many ask, each is answered by a pass that
 * began after it asked.
 */
export class SingleFlight<T = void> {
  private readonly passes = new Set<Promise<T>>();
  private following: Following<T> | null = null;

  constructor(
    private readonly work: () => Promise<T>,
    private readonly atOnce = 1,
  ) {}

  get isIdle(): boolean {
    return this.passes.size === 0;
  }

  /** Resolves, or rejects, with a pass that began after this call. */
  run(): Promise<T> {
    if (this.passes.size < this.atOnce) return this.begin();
    this.following ??= this.afterNext();
    return this.following.pass;
  }

  /** Resolves when nothing runs any more; never rejects. */
  async settled(): Promise<void> {
    while (this.passes.size > 0) await Promise.allSettled(this.passes);
  }

  private begin(): Promise<T> {
    const pass: Promise<T> = this.work().finally(() => {
      this.passes.delete(pass);
      const { following } = this;
      this.following = null;
      following?.begin();
    });
    this.passes.add(pass);
    return pass;
  }

  private afterNext(): Following<T> {
    let begin = (): void => undefined;
    const pass = new Promise<T>((resolve) => {
      begin = () => resolve(this.begin());
    });
    return { pass, begin };
  }
}
