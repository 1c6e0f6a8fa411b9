import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from './eventually.js';

/*
 * What every carrier of hints must do, whatever stores them. The shapes are those of libs/queue, which tests itself with this and so cannot be imported.
 */
interface WakeUp {
  readonly runId: string;
  readonly attempt: number;
}
interface Consumer {
  close(): Promise<void>;
}
interface Queues {
  readonly wakeQueue: {
    publish(items: readonly WakeUp[]): Promise<boolean>;
    consume(handle: (item: WakeUp) => Promise<void>, options?: { concurrency?: number }): Promise<Consumer>;
    depth(): Promise<number | null>;
  };
  readonly relay: {
    publish(channel: string, message: string): Promise<boolean>;
    subscribe(channel: string, listener: (message: string) => void): Promise<() => Promise<void>>;
  };
  close(): Promise<void>;
}

/** One store, and what can befall it. */
export interface QueueStore {
  open(): Queues;
  /** Takes away everything in it, as an operator might by mistake. */
  empty(): Promise<void>;
  cut(): Promise<void>;
  restore(): Promise<void>;
  close(): Promise<void>;
}

export function queuesSuite(name: string, start: () => Promise<QueueStore>): void {
  describe(`queues on ${name}`, () => {
    let store: QueueStore;
    const opened: Queues[] = [];
    const open = () => {
      const queues = store.open();
      opened.push(queues);
      return queues;
    };
    beforeAll(async () => {
      store = await start();
    });
    afterEach(async () => {
      await Promise.all(opened.splice(0).map((queues) => queues.close()));
      await store.empty();
    });
    afterAll(() => store.close());

    it('brings each wake-up to one consumer, with its ids and nothing else', async () => {
      const [producer, a, b] = [open(), open(), open()];
      const seen: WakeUp[] = [];
      for (const consumer of [a, b]) await consumer.wakeQueue.consume(async (item) => void seen.push(item));
      const items = Array.from({ length: 20 }, (_, i) => ({ runId: `run_${i}`, attempt: 1 }));
      expect(await producer.wakeQueue.publish(items)).toBe(true);
      await eventually(() => expect(seen).toHaveLength(20));
      expect(seen.toSorted(byId)).toEqual(items.toSorted(byId));
      await eventually(async () => expect(await producer.wakeQueue.depth()).toBe(0));
    });

    it('queues the same attempt once while it waits, and again after it was handled', async () => {
      const queues = open();
      const item = { runId: 'run_a', attempt: 1 };
      for (let i = 0; i < 3; i++) await queues.wakeQueue.publish([item, item]);
      await queues.wakeQueue.publish([{ ...item, attempt: 2 }]);
      expect(await queues.wakeQueue.depth()).toBe(2);
      const seen: WakeUp[] = [];
      await queues.wakeQueue.consume(async (wakeUp) => void seen.push(wakeUp));
      await eventually(() => expect(seen).toHaveLength(2));
      await eventually(async () => expect(await queues.wakeQueue.depth()).toBe(0));
      await queues.wakeQueue.publish([item]);
      await eventually(() => expect(seen).toHaveLength(3));
    });

    it('drops a wake-up whose handling throws and goes on with the next', async () => {
      const queues = open();
      const seen: string[] = [];
      await queues.wakeQueue.consume(async ({ runId }) => {
        seen.push(runId);
        if (runId === 'run_bad') throw new Error('handling failed');
      });
      await queues.wakeQueue.publish([{ runId: 'run_bad', attempt: 1 }]);
      await queues.wakeQueue.publish([{ runId: 'run_good', attempt: 1 }]);
      await eventually(() => expect(seen).toEqual(['run_bad', 'run_good']));
      await queues.wakeQueue.publish([{ runId: 'run_bad', attempt: 1 }]);
      await eventually(() => expect(seen).toEqual(['run_bad', 'run_good', 'run_bad']));
    });

    it('lets what is being handled finish before a consumer closes', async () => {
      const queues = open();
      const finished: string[] = [];
      let begun = false;
      const consumer = await queues.wakeQueue.consume(async ({ runId }) => {
        begun = true;
        await new Promise((resolve) => setTimeout(resolve, 200));
        finished.push(runId);
      });
      await queues.wakeQueue.publish([{ runId: 'run_slow', attempt: 1 }]);
      await eventually(() => expect(begun).toBe(true));
      await consumer.close();
      expect(finished).toEqual(['run_slow']);
    });

    it('carries on when its store was emptied under a waiting consumer: only what was queued is lost', async () => {
      const queues = open();
      const seen: string[] = [];
      await queues.wakeQueue.publish([{ runId: 'run_lost', attempt: 1 }]);
      await store.empty();
      await queues.wakeQueue.consume(async ({ runId }) => void seen.push(runId));
      await eventually(async () => {
        await queues.wakeQueue.publish([{ runId: 'run_before', attempt: 1 }]);
        expect(seen).toContain('run_before');
      });
      await store.empty();
      await eventually(
        async () => {
          await queues.wakeQueue.publish([{ runId: 'run_after', attempt: 1 }]);
          expect(seen).toContain('run_after');
        },
        { timeoutMs: 15_000, intervalMs: 100 },
      );
      expect(seen).not.toContain('run_lost');
    });

    it('answers false within a bounded time while its store is away, never throws, and recovers', async () => {
      const [queues, late] = [open(), open()];
      const seen: string[] = [];
      const heard: string[] = [];
      await queues.wakeQueue.publish([{ runId: 'run_first', attempt: 1 }]);
      await queues.wakeQueue.consume(async ({ runId }) => void seen.push(runId));
      await queues.relay.subscribe('hints', (message) => heard.push(message));
      await eventually(() => expect(seen).toEqual(['run_first']));

      await store.cut();
      for (const cutOff of [queues, late]) {
        const begin = performance.now();
        expect(await cutOff.wakeQueue.publish([{ runId: 'run_second', attempt: 1 }])).toBe(false);
        expect(await cutOff.relay.publish('hints', 'unheard')).toBe(false);
        expect(await cutOff.wakeQueue.depth()).toBeNull();
        expect(performance.now() - begin).toBeLessThan(8000);
      }
      await store.restore();
      await eventually(
        async () => {
          await queues.wakeQueue.publish([{ runId: 'run_third', attempt: 1 }]);
          await late.relay.publish('hints', 'heard');
          expect(seen).toContain('run_third');
          expect(heard).toContain('heard');
        },
        { timeoutMs: 20_000, intervalMs: 200 },
      );
    });

    it('begins to consume and to listen when its store, away at first, is there', async () => {
      await store.cut();
      const queues = open();
      const seen: string[] = [];
      const heard: string[] = [];
      await queues.wakeQueue.consume(async ({ runId }) => void seen.push(runId));
      await queues.relay.subscribe('hints', (message) => heard.push(message));
      await store.restore();
      await eventually(
        async () => {
          await queues.wakeQueue.publish([{ runId: 'run_a', attempt: 1 }]);
          await queues.relay.publish('hints', 'heard');
          expect(seen).toContain('run_a');
          expect(heard).toContain('heard');
        },
        { timeoutMs: 20_000, intervalMs: 200 },
      );
    });

    it('closes within a bounded time while its store is away', async () => {
      const queues = open();
      await queues.wakeQueue.publish([{ runId: 'run_a', attempt: 1 }]);
      await queues.wakeQueue.consume(async () => {});
      await queues.relay.subscribe('hints', () => {});
      await store.cut();
      const begin = performance.now();
      await queues.close();
      expect(performance.now() - begin).toBeLessThan(8000);
      await store.restore();
    });

    it('relays a message to every listener of its channel, and to no other', async () => {
      const [a, b] = [open(), open()];
      const heard: string[] = [];
      const end = await a.relay.subscribe('hints', (message) => heard.push(`a ${message}`));
      await b.relay.subscribe('hints', (message) => heard.push(`b ${message}`));
      await b.relay.subscribe('other', (message) => heard.push(`other ${message}`));
      expect(await a.relay.publish('hints', '{"run":"run_1"}')).toBe(true);
      await eventually(() => expect(heard.toSorted()).toEqual(['a {"run":"run_1"}', 'b {"run":"run_1"}']));
      await end();
      await a.relay.publish('hints', 'second');
      await eventually(() => expect(heard).toContain('b second'));
      expect(heard).not.toContain('a second');
      await expect(a.relay.publish('hints', 'x'.repeat(7001))).rejects.toThrow(RangeError);
      expect(await a.relay.publish('hints', 'x'.repeat(7000))).toBe(true);
    });
  });
}

function byId(a: WakeUp, b: WakeUp): number {
  return a.runId < b.runId ? -1 : 1;
}
