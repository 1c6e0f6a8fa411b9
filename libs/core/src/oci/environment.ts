/*
 * The environment of a container's first process. INVARIANTS
 *   - every entry is NAME=value, with a NAME that is not empty and holds no "=", NUL or newline, and a value without NUL;
 *   - no NAME stands twice;
 *   - later sources win: defaults, the image, the request.
 */

/** Docker's PATH, for images that name none. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

// execve(2) refuses longer strings (MAX_ARG_STRLEN), and argv and environment together over a quarter of the stack's limit.
const maxEntryBytes = 131_071;
const maxEntries = 4096;
const maxTotalBytes = 1024 * 1024;

export type EnvironmentResult =
  | { readonly kind: 'ok'; readonly env: readonly string[] }
  /** `reason` is one sentence that may be shown to the tenant; names are quoted, values never are. */
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * Merges what the image says (`NAME=value`, hostile) with what the request says. `fallbacks` are set only where neither names them.
 * Refuses rather than repairs: an entry that is dropped silently would be a container that differs from what was audited.
 */
export function mergeEnvironment(
  imageEnv: readonly string[],
  requested: Readonly<Record<string, string>>,
  fallbacks: Readonly<Record<string, string>>,
): EnvironmentResult {
  const merged = new Map<string, string>(Object.entries(fallbacks));
  for (const entry of imageEnv) {
    const equals = entry.indexOf('=');
    if (equals < 0) return refused(`the image's environment has an entry without "=": ${quoted(entry)}`);
    const problem = problemOf(entry.slice(0, equals), entry.slice(equals + 1));
    if (problem !== null) return refused(`the image's environment: ${problem}`);
    merged.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  for (const [name, value] of Object.entries(requested)) {
    const problem = problemOf(name, value);
    if (problem !== null) return refused(`the run's environment: ${problem}`);
    merged.set(name, value);
  }
  const env = [...merged].map(([name, value]) => `${name}=${value}`);
  if (env.length > maxEntries) return refused(`the environment has more than ${maxEntries} entries`);
  let totalBytes = 0;
  for (const entry of env) {
    const bytes = Buffer.byteLength(entry);
    if (bytes > maxEntryBytes)
      return refused(`the environment variable ${quoted(entry.split('=', 1)[0] ?? '')} is too long for the kernel`);
    totalBytes += bytes + 1;
  }
  return totalBytes > maxTotalBytes ? refused('the environment is larger than 1 MiB') : { kind: 'ok', env };
}

function problemOf(name: string, value: string): string | null {
  if (name === '') return 'a name is empty';
  if (/[=\0\n]/.test(name)) return `the name ${quoted(name)} holds "=", NUL or a newline`;
  return value.includes('\0') ? `the value of ${quoted(name)} holds NUL` : null;
}

function refused(reason: string): EnvironmentResult {
  return { kind: 'refused', reason };
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 64 ? `${name.slice(0, 64)}...` : name);
}
