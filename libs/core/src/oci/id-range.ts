/*
 * The host ids that stand for the ids of containers. Each container has a range of its own, so that a process that got out of one
 * container is nobody to the host and to every other container.
 */

/** Ids that a container has, 0 to 65535: what images and the classic tools expect. */
export const idsPerContainer = 65_536;

/** The first id of slot 0: above the ids of people, of other engines (/etc/subuid, from 100000) and of systemd-nspawn (to 0x6fffffff). */
export const firstContainerId = 0x7000_0000;

/** How many containers a machine can hold at once; the last id is 0x7fffffff, so that no tool that counts in signed numbers sees a negative one. */
export const idSlots = 4096;

export interface IdRange {
  /** The host's id of the container's root. */
  readonly base: number;
  readonly count: number;
}

/** The range of a slot, 0 to `idSlots - 1`. Ranges of different slots never overlap. */
export function idRangeOfSlot(slot: number): IdRange {
  if (!Number.isInteger(slot) || slot < 0 || slot >= idSlots)
    throw new RangeError(`a slot of ids must be 0 to ${idSlots - 1}, not ${slot}`);
  return { base: firstContainerId + slot * idsPerContainer, count: idsPerContainer };
}
