import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { idSlots } from '@berth/core';

/**
 * The slots of host ids that containers of this machine hold. A slot is a file named by its number, made exclusively, so that several agents on
 * one machine never share one. The folder is on a filesystem that a reboot empties: no container outlives that either.
 */
export class IdSlots {
  #next = 0;

  /** `owner` names this agent among those of the machine: its directory. */
  constructor(
    private readonly folder: string,
    private readonly owner: string,
  ) {}

  /**
   * Claims a free slot for `holder`. Slots are taken in turn rather than lowest first, so that what a dead container may have left is not at once
   * another's. Throws when all are held.
   */
  async claim(holder: string): Promise<number> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    for (let tries = 0; tries < idSlots; tries++) {
      const slot = this.#next;
      this.#next = (this.#next + 1) % idSlots;
      if (await this.take(slot, holder)) return slot;
    }
    throw new Error('every range of container ids is in use');
  }

  /** Takes a slot again for a holder that a restarted agent found. False when it is another's. */
  async reclaim(slot: number, holder: string): Promise<boolean> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    return (await this.take(slot, holder)) || (await this.isHeldBy(slot, holder));
  }

  async release(slot: number, holder: string): Promise<void> {
    if (await this.isHeldBy(slot, holder)) await rm(join(this.folder, String(slot)), { force: true });
  }

  /** This agent's slots with their holders. */
  async held(): Promise<ReadonlyMap<number, string>> {
    const found = new Map<number, string>();
    for (const name of await readdir(this.folder).catch(() => [])) {
      const [owner, holder] = await this.read(Number(name));
      if (owner === this.owner) found.set(Number(name), holder ?? '');
    }
    return found;
  }

  private async take(slot: number, holder: string): Promise<boolean> {
    try {
      const file = await open(join(this.folder, String(slot)), 'wx', 0o600);
      await file.writeFile(`${this.owner}\n${holder}\n`).finally(() => file.close());
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  private async isHeldBy(slot: number, holder: string): Promise<boolean> {
    const [owner, found] = await this.read(slot);
    return owner === this.owner && found === holder;
  }

  private async read(slot: number): Promise<readonly string[]> {
    return (await readFile(join(this.folder, String(slot)), 'utf8').catch(() => '')).split('\n');
  }
}
