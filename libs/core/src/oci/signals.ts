/** Linux signal numbers, the same on x86-64 and arm64 (signal(7)). */
const numbers: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  TRAP: 5,
  ABRT: 6,
  IOT: 6,
  BUS: 7,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
  STKFLT: 16,
  CHLD: 17,
  CONT: 18,
  STOP: 19,
  TSTP: 20,
  TTIN: 21,
  TTOU: 22,
  URG: 23,
  XCPU: 24,
  XFSZ: 25,
  VTALRM: 26,
  PROF: 27,
  WINCH: 28,
  IO: 29,
  POLL: 29,
  PWR: 30,
  SYS: 31,
};

export const SIGKILL = 9;
export const SIGTERM = 15;
const rtMin = 34;
const rtMax = 64;

/**
 * The number of a signal as images write it: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `RTMAX-1`; letters in either case. Null when there is
 * no such signal.
 */
export function parseSignal(text: string): number | null {
  if (/^[0-9]{1,2}$/.test(text)) {
    const number = Number(text);
    return number >= 1 && number <= rtMax ? number : null;
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const known = Object.hasOwn(numbers, name) ? numbers[name] : undefined;
  if (known !== undefined) return known;
  const realTime = /^RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$/.exec(name);
  if (realTime === null) return null;
  const offset = Number(realTime[3] ?? 0) * (realTime[2] === '-' ? -1 : 1);
  const number = (realTime[1] === 'MIN' ? rtMin : rtMax) + offset;
  return number >= rtMin && number <= rtMax ? number : null;
}
