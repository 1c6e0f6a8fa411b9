/*
 * Who a container's first process is, by Docker's rules:
 *
 *   user-text = [ user ] [ ":" group ]
 *   user      = name / uid            group = name / gid
 *
 * A text of digits is an id, never a name. Names are looked up in the image's own /etc/passwd and /etc/group, which are hostile: the first
 * entry that matches decides, an id that is not a plain number from 0 to 65535 is refused, and nothing ever wraps to root.
 */
import { idsPerContainer } from './id-range.js';

export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  /** Sorted, without repetition and without `gid`. */
  readonly additionalGids: readonly number[];
  /** The home of the passwd entry, or `/`. */
  readonly home: string;
}

export type UserResult =
  | { readonly kind: 'ok'; readonly user: ContainerUser }
  /** `reason` is one sentence that may be shown to the tenant. */
  | { readonly kind: 'refused'; readonly reason: string };

/** setgroups(2) takes 65536 groups; no sane image comes near this. */
const maxAdditionalGids = 1024;

/** Resolves `userText` ('' means root) with the texts of the image's passwd and group files; a missing file is ''. */
export function resolveUser(userText: string, passwd: string, group: string): UserResult {
  const parts = userText.split(':');
  if (parts.length > 2) return refused(`the user ${JSON.stringify(userText)} has more than one ":"`);
  const [who = '', whichGroup = ''] = parts;
  const entry = findPasswd(who, passwd);
  if (entry.kind === 'refused') return entry;
  const { name, home, uid } = entry;

  if (whichGroup === '') {
    const gids = memberships(name, group, entry.gid);
    return gids === null
      ? refused(`the image's /etc/group gives ${JSON.stringify(who)} a group id that is not usable`)
      : done(uid, entry.gid, gids, home);
  }
  if (isNumeric(whichGroup)) {
    const gid = parseContainerId(whichGroup);
    return gid === null ? refused(`the group ${JSON.stringify(whichGroup)} is not 0 to ${idsPerContainer - 1}`) : done(uid, gid, [], home);
  }
  const found = lines(group).find((fields) => fields[0] === whichGroup);
  if (found === undefined) return refused(`the image knows no group ${JSON.stringify(whichGroup)}`);
  const gid = parseContainerId(found[2] ?? '');
  return gid === null
    ? refused(`the image's /etc/group gives ${JSON.stringify(whichGroup)} an id that is not usable`)
    : done(uid, gid, [], home);
}

/** A plain decimal number from 0 to 65535, or null: no sign, no space, no base, no more than the digits that such a number has. */
export function parseContainerId(text: string): number | null {
  if (!/^0*[0-9]{1,5}$/.test(text) || text.length > 32) return null;
  const id = Number(text);
  return id < idsPerContainer ? id : null;
}

type PasswdResult =
  | { readonly kind: 'found'; readonly name: string; readonly uid: number; readonly gid: number; readonly home: string }
  | { readonly kind: 'refused'; readonly reason: string };

function findPasswd(who: string, passwd: string): PasswdResult {
  const wantedUid = who === '' ? 0 : isNumeric(who) ? parseContainerId(who) : undefined;
  if (wantedUid === null) return refused(`the user ${JSON.stringify(who)} is not 0 to ${idsPerContainer - 1}`);
  const entry = lines(passwd).find((fields) =>
    fields.length < 4 ? false : wantedUid === undefined ? fields[0] === who : parseContainerId(fields[2] ?? '') === wantedUid,
  );
  if (entry === undefined) {
    if (wantedUid === undefined) return refused(`the image knows no user ${JSON.stringify(who)}`);
    return { kind: 'found', name: '', uid: wantedUid, gid: 0, home: '/' };
  }
  const uid = parseContainerId(entry[2] ?? '');
  const gid = parseContainerId(entry[3] ?? '');
  if (uid === null || gid === null) return refused(`the image's /etc/passwd gives ${JSON.stringify(who)} an id that is not usable`);
  const home = entry[5] ?? '';
  return { kind: 'found', name: entry[0] ?? '', uid, gid, home: /^\/[^\0\n]{0,4095}$/.test(home) ? home : '/' };
}

/** The groups that list `name` as a member; null when one of them has an unusable id or there are too many. */
function memberships(name: string, group: string, gid: number): number[] | null {
  if (name === '') return [];
  const gids = new Set<number>();
  for (const fields of lines(group)) {
    if (!(fields[3] ?? '').split(',').includes(name)) continue;
    const id = parseContainerId(fields[2] ?? '');
    if (id === null || gids.size >= maxAdditionalGids) return null;
    gids.add(id);
  }
  gids.delete(gid);
  return [...gids].sort((a, b) => a - b);
}

function lines(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'));
}

function isNumeric(text: string): boolean {
  return /^[0-9]+$/.test(text);
}

function done(uid: number, gid: number, additionalGids: readonly number[], home: string): UserResult {
  return { kind: 'ok', user: { uid, gid, additionalGids, home } };
}

function refused(reason: string): { kind: 'refused'; reason: string } {
  return { kind: 'refused', reason };
}
