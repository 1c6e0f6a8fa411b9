import type { Run } from '@berth/wire';
import { summarize } from './samples.js';

/** Where a run's time goes, from its own timestamps: each phase in milliseconds, to the clock's millisecond. One machine, so one clock. */
export class RunPhases {
  #samples = new Map<string, number[]>();

  add(submittedMs: number, run: Run, seenMs: number): void {
    const attempt = run.attempts.at(-1);
    const times: [string, string | number | null | undefined][] = [
      ['submitted to accepted', run.createdAt],
      ['accepted to placed', attempt?.placedAt],
      ['placed to started', run.startedAt],
      ['started to exited', attempt?.finishedAt],
      ['exited to seen', seenMs],
    ];
    let lastMs = submittedMs;
    for (const [phase, at] of times) {
      if (at === null || at === undefined) continue;
      const nowMs = new Date(at).getTime();
      this.#samples.set(phase, [...(this.#samples.get(phase) ?? []), nowMs - lastMs]);
      lastMs = nowMs;
    }
  }

  clear(): void {
    this.#samples.clear();
  }

  medians(): Record<string, number> {
    return Object.fromEntries([...this.#samples].map(([phase, samples]) => [phase, summarize(samples).p50Ms]));
  }
}

/** The agent's steps of starting and cleaning up, as its metrics count them. */
export class StepTimes {
  constructor(private readonly steps: ReadonlyMap<string, { readonly seconds: number; readonly count: number }>) {}

  /** Mean milliseconds of each step between two looks. */
  since(before: StepTimes): Record<string, number> {
    return Object.fromEntries(
      [...this.steps].flatMap(([phase, { seconds, count }]) => {
        const earlier = before.steps.get(phase) ?? { seconds: 0, count: 0 };
        if (count === earlier.count) return [];
        return [[phase, Math.round(((seconds - earlier.seconds) / (count - earlier.count)) * 1e5) / 100]];
      }),
    );
  }
}

/** Reads the metrics page of the agent on this port. */
export async function stepTimes(port: number): Promise<StepTimes> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const read = (what: string) =>
    new Map(
      [...text.matchAll(new RegExp(`^berth_agent_start_seconds_${what}\\{phase="(\\w+)"\\} (\\S+)$`, 'gm'))].map(([, phase, value]) => [
        phase ?? '',
        Number(value),
      ]),
    );
  const counts = read('count');
  return new StepTimes(new Map([...read('sum')].map(([phase, seconds]) => [phase, { seconds, count: counts.get(phase) ?? 0 }])));
}
