import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Report, report as reportSchema } from '@berth/wire';
import type { Logger } from 'pino';
import { readIfPresent, writeDurable } from '../host/durable-file.js';

/*
 * Reports that the control plane has not acknowledged, in the order in which they became true. INVARIANTS
 *   - a report is on disk before `append` resolves, and stays until its acknowledgement;
 *   - a report's id is a function of its attempt and kind, so a report that comes again after a crash is the same report;
 *   - what a torn write leaves is one line that does not parse, and costs no other.
 *
 * The file holds a line for each report, {"report": ...}, and for each acknowledgement, {"ack": "ID"}; it is rewritten when it has grown.
 */
export type ReportOutcome = 'applied' | 'stale';

const rewriteAboveBytes = 4 * 1024 * 1024;
const retryMs = 1_000;

interface Entry {
  readonly report: Report;
  sent: boolean;
}

interface Line {
  readonly text: string;
  readonly durable: boolean;
  readonly done: () => void;
}

export class ReportSpool {
  readonly #entries = new Map<string, Entry>();
  readonly #waiting = new Map<string, ((outcome: ReportOutcome) => void)[]>();
  readonly #appendListeners: (() => void)[] = [];
  readonly #acknowledgeListeners: ((report: Report, outcome: ReportOutcome) => void)[] = [];
  #queue: Line[] = [];
  #writing: Promise<void> | null = null;
  #closed = false;

  private constructor(
    private readonly path: string,
    private file: FileHandle,
    private bytes: number,
    private readonly log: Logger,
  ) {}

  /** Opens the spool and reads what an earlier agent left. */
  static async open(path: string, log: Logger): Promise<ReportSpool> {
    const entries = readSpool((await readIfPresent(path)) ?? '');
    const kept = entries.map((report) => `${JSON.stringify({ report })}\n`).join('');
    await writeDurable(path, kept);
    const spool = new ReportSpool(path, await open(path, 'a', 0o600), Buffer.byteLength(kept), log);
    for (const report of entries) spool.#entries.set(report.id, { report, sent: false });
    return spool;
  }

  get size(): number {
    return this.#entries.size;
  }

  onAppend(listener: () => void): void {
    this.#appendListeners.push(listener);
  }

  /**
   * Adds a report; one with the same id that still waits is kept instead. It may be sent at once; the promise says that it is on disk. While the disk
   * takes nothing the promise waits, and the report is sent all the same.
   */
  append(report: Report): Promise<void> {
    if (this.#entries.has(report.id)) return Promise.resolve();
    this.#entries.set(report.id, { report, sent: false });
    for (const listener of this.#appendListeners) listener();
    return new Promise((done) => this.write({ text: JSON.stringify({ report }), durable: true, done }));
  }

  /** The reports that wait, oldest first; with `onlyUnsent` those that were not handed out before. They count as sent from here on. */
  pending(onlyUnsent = false): Report[] {
    const found = [...this.#entries.values()].filter((entry) => !(onlyUnsent && entry.sent));
    for (const entry of found) entry.sent = true;
    return found.map((entry) => entry.report);
  }

  onAcknowledge(listener: (report: Report, outcome: ReportOutcome) => void): void {
    this.#acknowledgeListeners.push(listener);
  }

  /** The control plane has answered a report; an answer to one that does not wait changes nothing. */
  acknowledge(id: string, outcome: ReportOutcome): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    for (const listener of this.#acknowledgeListeners) listener(entry.report, outcome);
    for (const resolve of this.#waiting.get(id) ?? []) resolve(outcome);
    this.#waiting.delete(id);
    this.write({ text: JSON.stringify({ ack: id }), durable: false, done: () => {} });
  }

  /** Resolves with the control plane's answer; call it before the answer can come. */
  acknowledged(id: string): Promise<ReportOutcome> {
    return new Promise((resolve) => {
      this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), resolve]);
    });
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** Writes what is queued and closes the file. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    await this.file.close();
  }

  private write(line: Line): void {
    this.#queue.push(line);
    this.#writing ??= this.drain();
  }

  /** One writer; lines that come while the disk is busy share the next write and its fsync. */
  private async drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const lines = this.#queue;
      this.#queue = [];
      try {
        await this.commit(lines);
      } catch (error) {
        this.log.error({ err: error, path: this.path }, 'reports cannot be written to disk');
        this.#queue = [...lines, ...this.#queue];
        if (this.#closed) break;
        // The newline ends what a torn write may have left.
        await this.file.appendFile('\n').catch(() => {});
        await sleep(retryMs);
        continue;
      }
      for (const line of lines) line.done();
    }
    // In the same turn as the last look at the queue, or a line that comes in between would wait for ever.
    this.#writing = null;
  }

  private async commit(lines: readonly Line[]): Promise<void> {
    const text = lines.map((line) => `${line.text}\n`).join('');
    await this.file.appendFile(text);
    if (lines.some((line) => line.durable)) await this.file.datasync();
    this.bytes += Buffer.byteLength(text);
    if (this.bytes > rewriteAboveBytes) await this.rewrite();
  }

  private async rewrite(): Promise<void> {
    const kept = [...this.#entries.values()].map(({ report }) => `${JSON.stringify({ report })}\n`).join('');
    await writeDurable(this.path, kept);
    const replaced = await open(this.path, 'a', 0o600);
    await this.file.close();
    this.file = replaced;
    this.bytes = Buffer.byteLength(kept);
  }
}

/** The reports of a spool's text that were not acknowledged, in order. Lines that are no entries are passed over. */
export function readSpool(text: string): Report[] {
  const reports = new Map<string, Report>();
  for (const line of text.split('\n')) {
    const entry = parseLine(line);
    if (entry === null) continue;
    if (typeof entry.ack === 'string') reports.delete(entry.ack);
    const report = reportSchema.safeParse(entry.report);
    if (report.success) reports.set(report.data.id, report.data);
  }
  return [...reports.values()];
}

function parseLine(line: string): { ack?: unknown; report?: unknown } | null {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? value : null;
  } catch {
    return null;
  }
}
