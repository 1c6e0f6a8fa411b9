import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { readIfPresent, writeDurable } from '../host/durable-file.js';

const pageBytes = 8;
const nsPerMs = 1_000_000n;

/**
 * T_stop: the moment, in nanoseconds of CLOCK_BOOTTIME, at which every leased container of this node must stop. It stands in one file whose first
 * eight bytes (little endian) each shim maps, so that a word from the agent reaches all of them at once and its silence needs no word.
 * 0 means that there was no lease yet.
 */
export class StopPage {
  #renewedAtNs = 0n;

  private constructor(
    /** Absolute path, for `berth-shim --lease`. */
    readonly path: string,
    private readonly fd: number,
  ) {}

  /** Opens the page in `directory`. One of an earlier boot starts anew: that clock has begun again. */
  static async open(directory: string, bootId: string): Promise<StopPage> {
    const path = join(directory, 'lease');
    const bootPath = join(directory, 'lease.boot');
    if ((await readIfPresent(bootPath)) !== bootId) {
      await writeDurable(path, Buffer.alloc(pageBytes));
      await writeDurable(bootPath, bootId);
    }
    const fd = openSync(path, 'r+');
    fsyncSync(fd);
    return new StopPage(path, fd);
  }

  get stopAtNs(): bigint {
    const page = Buffer.alloc(pageBytes);
    readSync(this.fd, page, 0, pageBytes, 0);
    return page.readBigUInt64LE();
  }

  /** Whether a container may start under the lease at this moment. */
  isValid(nowNs: bigint): boolean {
    return this.stopAtNs > nowNs;
  }

  /**
   * The control plane has acknowledged a heartbeat that was sent at `sentAtNs`. An answer that was overtaken by a later one changes nothing; a control
   * plane that now grants less shortens the lease.
   */
  renew(sentAtNs: bigint, stopAfterMs: number): void {
    if (sentAtNs < this.#renewedAtNs) return;
    this.#renewedAtNs = sentAtNs;
    const page = Buffer.alloc(pageBytes);
    page.writeBigUInt64LE(sentAtNs + BigInt(stopAfterMs) * nsPerMs);
    // One write of eight aligned bytes: a shim reads the old moment or the new one.
    writeSync(this.fd, page, 0, pageBytes, 0);
  }

  close(): void {
    closeSync(this.fd);
  }
}
