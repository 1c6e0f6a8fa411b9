import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { idSlots } from '@berth/core';

/**
 * The slots of host ids that containers of this machine hold. A slot is a file named by its number, made exclusively, so that several agents on
 * one machine never share one. The folder is on a filesystem that a reboot empties: no container outlives that either.
 */
export class IdSlots {
  #next = 0;

  private constructor(
    private readonly folder: string,
    private readonly owner: string,
  ) {}

  /** `folder` is shared by all agents of the machine; `owner` names this one among them: its directory. */
  static async open(folder: string, owner: string): Promise<IdSlots> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return new IdSlots(folder, owner);
  }

  /**
   * Claims a free slot for `holder`. Slots are taken in turn rather than lowest first, so that what a dead container may have left is not at once
   * another's. Throws when all are held.
   */
  async claim(holder: string): Promise<number> {
    for (let tries = 0; tries < idSlots; tries++) {
      const slot = this.#next;
      this.#next = (this.#next + 1) % idSlots;
      if (await this.take(slot, holder)) return slot;
    }
    throw new Error('every range of container ids is in use');
  }

  /** Takes a slot again for a holder that a restarted agent found. False when it is another's. */
  async reclaim(slot: number, holder: string): Promise<boolean> {
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
      await writeFile(join(this.folder, String(slot)), `${this.owner}\n${holder}\n`, { flag: 'wx', mode: 0o600 });
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
