interface Waiting<In, Out> {
  readonly item: In;
  readonly resolve: (out: Out | Promise<Out>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Does things together that are asked for together: those of one turn of the event loop, and those that come while earlier ones are under way. Each is
 * answered by work that began after it was asked. Where the work fails for several, each is tried by itself, so that none pays for another.
 */
export class Gathering<In, Out> {
  private waiting: Waiting<In, Out>[] = [];
  private underWay = 0;

  /** `work` answers each item, in their order. `atOnce`: so many gatherings are under way at a time, of at most `itemsMax` each. */
  constructor(
    private readonly work: (items: readonly In[]) => Promise<readonly Out[]>,
    private readonly limits: { readonly atOnce: number; readonly itemsMax: number } = { atOnce: 2, itemsMax: 64 },
  ) {}

  run(item: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      if (this.waiting.length === 1) setImmediate(() => this.next());
    });
  }

  private next(): void {
    while (this.waiting.length > 0 && this.underWay < this.limits.atOnce) {
      this.underWay++;
      void this.take(this.waiting.splice(0, this.limits.itemsMax)).finally(() => {
        this.underWay--;
        this.next();
      });
    }
  }

  private async take(batch: readonly Waiting<In, Out>[]): Promise<void> {
    try {
      const outs = await this.work(batch.map(({ item }) => item));
      for (const [i, { resolve }] of batch.entries()) resolve(outs[i] as Out);
    } catch (error) {
      if (batch.length === 1) batch[0]?.reject(error);
      else await Promise.all(batch.map((one) => this.take([one])));
    }
  }
}
