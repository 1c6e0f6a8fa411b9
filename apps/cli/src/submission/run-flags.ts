import { type CreateRunRequest, createRunRequest } from '@berth/wire';
import type { Options, Values } from '../command.js';
import { UsageError } from '../failures.js';
import { parseCpus, parseDuration, parsePair, parseSize, parseWhole } from '../units.js';

/** The flags of `berth run` that describe the container, named as Docker names them wherever Docker has them. */
export const runFlags = {
  env: {
    type: 'string',
    short: 'e',
    multiple: true,
    value: 'NAME[=VALUE]',
    description: 'Set a variable; without a value, take it from here',
  },
  workdir: { type: 'string', short: 'w', value: 'PATH', description: 'Directory to start in' },
  user: { type: 'string', short: 'u', value: 'USER[:GROUP]', description: 'Names or numbers, resolved in the image' },
  hostname: { type: 'string', value: 'NAME', description: 'Host name in the container' },
  entrypoint: { type: 'string', value: 'PROGRAM', description: "Replace the image's entrypoint and drop its command" },
  memory: { type: 'string', short: 'm', value: 'SIZE', description: 'Memory limit, swap included: 256m, 1g' },
  cpus: { type: 'string', value: 'NUMBER', description: 'Cpu limit: 0.5, 2' },
  'pids-limit': { type: 'string', value: 'NUMBER', description: 'Limit of processes and threads' },
  'shm-size': { type: 'string', value: 'SIZE', description: 'Size of /dev/shm' },
  disk: { type: 'string', value: 'SIZE', description: 'Size of the writable layer; only on nodes that can bound it' },
  'log-size': { type: 'string', value: 'SIZE', description: "Length of an attempt's log; what goes beyond is dropped" },
  'read-only': { type: 'boolean', description: 'Mount the root filesystem read-only' },
  init: { type: 'boolean', description: 'Run under an init that reaps orphans and forwards signals' },
  network: { type: 'string', value: 'none|egress', description: 'Loopback alone, or out to the internet where your operator allows it' },
  runtime: { type: 'string', value: 'berth|runc|crun|runsc', description: 'OCI runtime, where your operator allows it' },
  timeout: { type: 'string', value: 'DURATION', description: 'Stop the run so long after its start: 30s, 5m, 1h30m' },
  'stop-timeout': { type: 'string', value: 'DURATION', description: 'Between the stop signal and SIGKILL' },
  'max-attempts': { type: 'string', value: 'NUMBER', description: 'Attempts in all, the first one included' },
  'on-quota': {
    type: 'string',
    value: 'queue|reject|preempt',
    description: 'Over quota: wait (default), fail, or have your runs of lower priority make way',
  },
  'on-node-lost': { type: 'string', value: 'wait|retry', description: 'When its node is lost' },
  priority: { type: 'string', value: '0..100', description: 'Among your own runs; higher first, 50 by default' },
  name: { type: 'string', value: 'NAME', description: 'Label name=NAME; other commands then take NAME for the latest such run' },
  label: { type: 'string', short: 'l', multiple: true, value: 'KEY=VALUE', description: 'Label the run' },
} as const satisfies Options;

/** The label that `--name` sets and by which other commands find a run. */
export const nameLabel = 'name';

/**
 * The body of `POST /v1/runs` that a command line means. As with `docker run`, `args` replace the image's CMD, and `--entrypoint` its ENTRYPOINT.
 * Throws a UsageError that names the flag.
 */
export function requestFromFlags(
  image: string,
  args: readonly string[],
  flags: Values<typeof runFlags>,
  environment: NodeJS.ProcessEnv,
): CreateRunRequest {
  const resources = defined({
    memoryBytes: optional(flags.memory, (text) => parseSize(text, '--memory')),
    cpuMillis: optional(flags.cpus, (text) => parseCpus(text, '--cpus')),
    pids: optional(flags['pids-limit'], (text) => parseWhole(text, '--pids-limit')),
    shmBytes: optional(flags['shm-size'], (text) => parseSize(text, '--shm-size')),
    diskBytes: optional(flags.disk, (text) => parseSize(text, '--disk')),
    logBytes: optional(flags['log-size'], (text) => parseSize(text, '--log-size')),
  });
  const labels = Object.fromEntries([
    ...(flags.label ?? []).map((text) => parsePair(text, '--label')),
    ...(flags.name === undefined ? [] : [[nameLabel, flags.name] as const]),
  ]);
  const env = variables(flags.env ?? [], environment);
  const request = defined({
    image,
    command: optional(flags.entrypoint, (program) => [program]),
    args: args.length === 0 ? undefined : [...args],
    env: Object.keys(env).length === 0 ? undefined : env,
    workingDir: flags.workdir,
    user: flags.user,
    hostname: flags.hostname,
    resources: Object.keys(resources).length === 0 ? undefined : resources,
    readOnlyRootfs: flags['read-only'],
    init: flags.init,
    network: flags.network,
    runtimeClass: flags.runtime,
    timeoutMs: optional(flags.timeout, (text) => parseDuration(text, '--timeout')),
    stopGraceMs: optional(flags['stop-timeout'], (text) => parseDuration(text, '--stop-timeout')),
    maxAttempts: optional(flags['max-attempts'], (text) => parseWhole(text, '--max-attempts')),
    onQuota: flags['on-quota'],
    onNodeLost: flags['on-node-lost'],
    priority: optional(flags.priority, (text) => parseWhole(text, '--priority')),
    labels: Object.keys(labels).length === 0 ? undefined : labels,
  });
  const checked = createRunRequest.safeParse(request);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw new UsageError(`${flagOf(issue?.path ?? [])}: ${issue?.message ?? 'not valid'}`);
}

const flagByField: Readonly<Record<string, string>> = {
  image: 'IMAGE',
  command: '--entrypoint',
  args: 'ARG',
  env: '--env',
  workingDir: '--workdir',
  memoryBytes: '--memory',
  cpuMillis: '--cpus',
  pids: '--pids-limit',
  shmBytes: '--shm-size',
  runtimeClass: '--runtime',
  diskBytes: '--disk',
  logBytes: '--log-size',
  timeoutMs: '--timeout',
  stopGraceMs: '--stop-timeout',
  maxAttempts: '--max-attempts',
  onQuota: '--on-quota',
  onNodeLost: '--on-node-lost',
  labels: '--label',
};

function flagOf(path: readonly PropertyKey[]): string {
  const [field = '', member = ''] = path.map(String);
  if (field === 'resources') return flagByField[member] ?? member;
  const flag = flagByField[field] ?? `--${field}`;
  return member === '' || field === 'command' ? flag : `${flag} ${member}`;
}

function variables(texts: readonly string[], environment: NodeJS.ProcessEnv): Record<string, string> {
  const env: Record<string, string> = {};
  for (const text of texts) {
    if (text.includes('=')) {
      const [name, value] = parsePair(text, '--env');
      env[name] = value;
    } else {
      const value = environment[text];
      // As in Docker, a variable that is not set here is not set there either.
      if (value !== undefined) env[text] = value;
    }
  }
  return env;
}

function optional<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text);
}

function defined(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
