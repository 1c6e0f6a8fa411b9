import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UsageError } from './failures.js';

/** Where the service is, and with which key to speak to it. */
export interface Settings {
  readonly url: string;
  /** Where the embedded registry listens. Throws a UsageError that says how to tell. */
  registry(): string;
  /** Throws a UsageError that says where to get one. */
  key(kind: KeyKind): string;
}
export type KeyKind = 'tenant' | 'admin';

interface KeysFile {
  readonly url: string;
  readonly registry: string | undefined;
  readonly adminKey: string;
  readonly tenantKey: string;
}

/**
 * `BERTH_URL` and `BERTH_API_KEY`, or else `$BERTH_HOME/keys.json`, which `npm start` writes. With `BERTH_API_KEY` set that one key is used
 * for everything, tenant's or admin's as it may be.
 */
export function readSettings(environment: NodeJS.ProcessEnv): Settings {
  const home = environment.BERTH_HOME || (process.getuid?.() === 0 ? '/var/lib/berth' : join(homedir(), '.berth'));
  const path = join(home, 'keys.json');
  let file: KeysFile | null | undefined;
  // Read at most once, and only when something is missing: a complete environment must work without any file.
  const keys = (): KeysFile | null => {
    file ??= readKeys(path);
    return file;
  };
  const { BERTH_URL: url, BERTH_API_KEY: key } = environment;
  return {
    url: url || keys()?.url || 'http://127.0.0.1:7070',
    registry: () => {
      const chosen = environment.BERTH_REGISTRY_URL || keys()?.registry;
      if (!chosen || !URL.canParse(chosen))
        throw new UsageError('no registry: set BERTH_REGISTRY_URL to where it listens, such as https://registry.example');
      return chosen;
    },
    key: (kind) => {
      const chosen = key || (kind === 'admin' ? keys()?.adminKey : keys()?.tenantKey);
      if (!chosen) throw new UsageError(`no API key: set BERTH_API_KEY, or start the service here, which writes ${path}`);
      return chosen;
    },
  };
}

function readKeys(path: string): KeysFile | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new UsageError(`${path} cannot be read (${code}): set BERTH_URL and BERTH_API_KEY instead`);
  }
  const fault = new UsageError(`${path} is not a keys file: set BERTH_URL and BERTH_API_KEY instead`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw fault;
  }
  const { url, registry, adminKey, tenantKey } = (value ?? {}) as Record<string, unknown>;
  if (typeof url !== 'string' || typeof adminKey !== 'string' || typeof tenantKey !== 'string') throw fault;
  return { url, registry: typeof registry === 'string' ? registry : undefined, adminKey, tenantKey };
}
