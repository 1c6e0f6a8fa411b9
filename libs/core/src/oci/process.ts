import { defaultPath, mergeEnvironment } from './environment.js';
import { type ContainerUser, resolveUser } from './image-user.js';
import { parseSignal, SIGTERM } from './signals.js';

/** What an image says about its process (OCI image-spec, config.md). Every field is hostile. */
export interface ImageProcess {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  /** '' when the image names none. */
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string | undefined;
}

/** What a run says about its process. */
export interface RequestedProcess {
  readonly command?: readonly string[] | undefined;
  readonly args?: readonly string[] | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir?: string | undefined;
  readonly user?: string | undefined;
  /** Run under `/dev/init`. */
  readonly init: boolean;
}

/** The image's own account files; '' where one is missing. */
export interface AccountFiles {
  readonly passwd: string;
  readonly group: string;
}

/** The first process of a container, with every rule applied. */
export interface ContainerProcess {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: ContainerUser;
  readonly stopSignal: number;
}

export type ProcessResult =
  | { readonly kind: 'ok'; readonly process: ContainerProcess }
  /** `reason` is one sentence that may be shown to the tenant. */
  | { readonly kind: 'refused'; readonly reason: string };

/** Where the init program stands in a container that asks for it. */
export const initPath = '/dev/init';

/**
 * Combines image and request by Docker's rules: `command` replaces ENTRYPOINT and drops CMD, `args` replaces CMD; the request's environment,
 * working directory and user beat the image's.
 */
export function resolveProcess(image: ImageProcess, request: RequestedProcess, accounts: AccountFiles, hostname: string): ProcessResult {
  const argv = argvOf(image, request);
  if (argv.length === 0 || argv[0] === '') return refused('neither the image nor the run names a command');
  if (argv.some((argument) => argument.includes('\0'))) return refused('an argument holds NUL');

  const user = resolveUser(request.user ?? image.user, accounts.passwd, accounts.group);
  if (user.kind === 'refused') return user;
  const env = mergeEnvironment(image.env, request.env, { PATH: defaultPath, HOSTNAME: hostname, HOME: user.user.home });
  if (env.kind === 'refused') return env;

  const cwd = normalizeDirectory(request.workingDir ?? image.workingDir);
  if (cwd === null) return refused('the working directory is not an absolute path of at most 4096 bytes');
  const stopSignal = image.stopSignal === undefined ? SIGTERM : parseSignal(image.stopSignal);
  if (stopSignal === null) return refused(`the image's stop signal ${JSON.stringify(image.stopSignal)} does not exist`);

  const args = request.init ? [initPath, '--', ...argv] : argv;
  return { kind: 'ok', process: { args, env: env.env, cwd, user: user.user, stopSignal } };
}

function argvOf(image: ImageProcess, request: RequestedProcess): readonly string[] {
  if (request.command !== undefined) return [...request.command, ...(request.args ?? [])];
  return [...image.entrypoint, ...(request.args ?? image.cmd)];
}

/** `directory` without empty, "." and ".." parts; '' means "/". Null unless it is absolute, without NUL, and fits PATH_MAX. */
export function normalizeDirectory(directory: string): string | null {
  if (directory === '') return '/';
  if (!directory.startsWith('/') || directory.includes('\0') || Buffer.byteLength(directory) > 4095) return null;
  const parts: string[] = [];
  for (const part of directory.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

function refused(reason: string): { kind: 'refused'; reason: string } {
  return { kind: 'refused', reason };
}
