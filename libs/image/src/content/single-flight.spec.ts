import { describe, expect, it } from 'vitest';
import { SingleFlight } from './single-flight.js';

const deferred = <T>() => {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
};

describe('a flight', () => {
  it('runs once for all who ask while it lasts, and anew afterwards', async () => {
    const flights = new SingleFlight<number>();
    const gate = deferred<number>();
    let starts = 0;
    const start = () => {
      starts++;
      return gate.promise;
    };
    const all = Promise.all([1, 2, 3].map(() => flights.run('k', {}, start)));
    gate.resolve(7);
    expect(await all).toEqual([
      { value: 7, led: true },
      { value: 7, led: false },
      { value: 7, led: false },
    ]);
    expect(starts).toBe(1);
    await flights.run('k', {}, start);
    expect(starts).toBe(2);
  });

  it('goes on for the others when one gives up, and is aborted when the last does', async () => {
    const flights = new SingleFlight<number>();
    const gate = deferred<number>();
    let inner: AbortSignal | undefined;
    const start = (signal: AbortSignal) => {
      inner = signal;
      return gate.promise;
    };
    const [first, second] = [new AbortController(), new AbortController()];
    const one = flights.run('k', { signal: first.signal }, start);
    const two = flights.run('k', { signal: second.signal }, start);
    first.abort(new Error('first'));
    await expect(one).rejects.toThrow('first');
    expect(inner?.aborted).toBe(false);
    second.abort(new Error('second'));
    await expect(two).rejects.toThrow('second');
    expect(inner?.aborted).toBe(true);
    expect(flights.has('k')).toBe(false);
  });

  it('fails for all who wait for it', async () => {
    const flights = new SingleFlight<number>();
    const gate = deferred<number>();
    const all = [1, 2].map(() => flights.run('k', {}, () => gate.promise));
    gate.reject(new Error('broken'));
    for (const each of all) await expect(each).rejects.toThrow('broken');
  });

  it('tells its progress to all, the latest at once to those who join late', async () => {
    const flights = new SingleFlight<string, number>();
    const gate = deferred<string>();
    let report: (progress: number) => void = () => {};
    const heard: string[] = [];
    const one = flights.run('k', { onProgress: (n) => heard.push(`one ${n}`) }, (_signal, tell) => {
      report = tell;
      return gate.promise;
    });
    await Promise.resolve();
    report(1);
    const two = flights.run('k', { onProgress: (n) => heard.push(`two ${n}`) }, () => gate.promise);
    report(2);
    gate.resolve('done');
    await Promise.all([one, two]);
    expect(heard).toEqual(['one 1', 'two 1', 'one 2', 'two 2']);
  });
});
