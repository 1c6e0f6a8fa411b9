import { appendFile, mkdtemp, readFile, rm, stat, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Report } from '@berth/wire';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReportSpool, readSpool } from './report-spool.js';

const log = pino({ enabled: false });
const reportOf = (name: string): Report => ({ runId: 'run_01k00000000000000000000000', attempt: 1, epoch: 1, id: name, kind: 'preparing' });

describe('the spool of reports', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-spool-'));
    path = join(directory, 'spool');
  });
  afterEach(() => rm(directory, { recursive: true }));

  const ids = (reports: readonly Report[]) => reports.map(({ id }) => id);

  it('has what was appended and not acknowledged, in order, after a restart', async () => {
    const spool = await ReportSpool.open(path, log);
    await Promise.all(['a', 'b', 'c'].map((name) => spool.append(reportOf(name))));
    spool.acknowledge('b', 'applied');
    await spool.close();
    const again = await ReportSpool.open(path, log);
    expect(ids(again.pending())).toEqual(['a', 'c']);
    await again.close();
  });

  it('has a report on disk before it says so', async () => {
    const spool = await ReportSpool.open(path, log);
    await spool.append(reportOf('a'));
    expect(ids(readSpool(await readFile(path, 'utf8')))).toEqual(['a']);
    await spool.close();
  });

  it('keeps one of several reports with the same id', async () => {
    const spool = await ReportSpool.open(path, log);
    await Promise.all([spool.append(reportOf('a')), spool.append(reportOf('a'))]);
    expect(spool.size).toBe(1);
    await spool.close();
  });

  it('hands out each report once, and all again when asked for all', async () => {
    const spool = await ReportSpool.open(path, log);
    await spool.append(reportOf('a'));
    expect(ids(spool.pending(true))).toEqual(['a']);
    await spool.append(reportOf('b'));
    expect(ids(spool.pending(true))).toEqual(['b']);
    expect(ids(spool.pending())).toEqual(['a', 'b']);
    await spool.close();
  });

  it('tells who waits of the answer, and of an answer to nothing nobody', async () => {
    const spool = await ReportSpool.open(path, log);
    const heard: string[] = [];
    spool.onAcknowledge((report, outcome) => heard.push(`${report.id} ${outcome}`));
    await spool.append(reportOf('a'));
    const answer = spool.acknowledged('a');
    spool.acknowledge('unknown', 'applied');
    spool.acknowledge('a', 'stale');
    spool.acknowledge('a', 'applied');
    expect(await answer).toBe('stale');
    expect(heard).toEqual(['a stale']);
    await spool.close();
  });

  it('loses no other report to a torn write', async () => {
    const spool = await ReportSpool.open(path, log);
    await spool.append(reportOf('a'));
    await spool.append(reportOf('b'));
    await spool.close();
    await truncate(path, (await stat(path)).size - 5);
    const torn = await ReportSpool.open(path, log);
    expect(ids(torn.pending())).toEqual(['a']);
    await torn.append(reportOf('c'));
    await torn.close();
    await appendFile(path, 'null\n[]\n{"report":{"id":7}}\nnot json\n');
    const again = await ReportSpool.open(path, log);
    expect(ids(again.pending())).toEqual(['a', 'c']);
    await again.close();
  });

  it('does not grow for ever', async () => {
    const spool = await ReportSpool.open(path, log);
    const long = 'x'.repeat(60);
    for (let round = 0; round < 40; round++) {
      const names = Array.from({ length: 1000 }, (_, index) => `${round}-${index}-${long}`.slice(0, 64));
      await Promise.all(names.map((name) => spool.append(reportOf(name))));
      for (const name of names) spool.acknowledge(name, 'applied');
    }
    await spool.close();
    expect((await stat(path)).size).toBeLessThan(5 * 1024 * 1024);
  });
});
