import { isValidDigest } from '@berth/core';
import { ImageError } from './image-error.js';

/** The part of an OCI image configuration that a run needs, with absent fields filled in. Hostile until the runtime has judged it. */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`, in the image's order. */
  readonly env: readonly string[];
  /** Absolute, or empty when the image names none. */
  readonly workingDir: string;
  /** `user`, `uid`, `user:group` or `uid:gid`; empty means root. */
  readonly user: string;
  /** As written by the image, e.g. `SIGTERM` or `9`; undefined when it names none. */
  readonly stopSignal: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Mount points that the image declares, sorted. */
  readonly volumes: readonly string[];
  /** `port/protocol`, sorted. */
  readonly exposedPorts: readonly string[];
  /** Digests of the uncompressed layers, lowest first. */
  readonly diffIds: readonly string[];
}

const invalid = (what: string): never => {
  throw new ImageError('invalidManifest', `image configuration: ${what}`);
};

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

function textField(source: JsonObject, name: string): string {
  const value = source[name] ?? '';
  if (typeof value !== 'string' || value.includes('\0')) return invalid(`${name} is not a text`);
  return value;
}

function textList(source: JsonObject, name: string): string[] {
  const value = source[name] ?? [];
  if (!Array.isArray(value)) return invalid(`${name} is not a list`);
  for (const item of value) if (typeof item !== 'string' || item.includes('\0')) invalid(`${name} holds something that is not a text`);
  return value as string[];
}

function objectField(source: JsonObject, name: string): JsonObject {
  const value = source[name] ?? {};
  return isObject(value) ? value : invalid(`${name} is not an object`);
}

/**
 * Reads an OCI or Docker image configuration (OCI image-spec, config.md). Throws `invalidManifest` for a field of another type, for a malformed
 * diff id, and for a relative working directory.
 */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  let root: unknown;
  try {
    root = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new ImageError('invalidManifest', 'image configuration is not JSON', { cause });
  }
  if (!isObject(root)) return invalid('not an object');
  const config = objectField(root, 'config');
  const rootfs = objectField(root, 'rootfs');
  if (rootfs.type !== 'layers') return invalid('rootfs.type is not "layers"');
  const diffIds = textList(rootfs, 'diff_ids');
  for (const diffId of diffIds) if (!isValidDigest(diffId)) invalid('rootfs.diff_ids holds a malformed digest');
  const workingDir = textField(config, 'WorkingDir');
  if (workingDir !== '' && !workingDir.startsWith('/')) return invalid('WorkingDir is not absolute');
  const labels = objectField(config, 'Labels');
  for (const value of Object.values(labels)) if (typeof value !== 'string') invalid('Labels holds something that is not a text');
  return {
    architecture: textField(root, 'architecture'),
    os: textField(root, 'os'),
    entrypoint: textList(config, 'Entrypoint'),
    cmd: textList(config, 'Cmd'),
    env: textList(config, 'Env'),
    workingDir,
    user: textField(config, 'User'),
    stopSignal: textField(config, 'StopSignal') || undefined,
    labels: { ...labels } as Record<string, string>,
    volumes: Object.keys(objectField(config, 'Volumes')).sort(),
    exposedPorts: Object.keys(objectField(config, 'ExposedPorts')).sort(),
    diffIds,
  };
}
