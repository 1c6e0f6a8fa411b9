import type { EventEmitter } from 'node:events';
import type { ApiClient } from './admin-api.mjs';

export interface Ports {
  url: number;
  admin: number;
  agent: number;
  registry: number;
  registryAdmin: number;
}

/** A program of the service: see child.mjs. */
export interface Child extends EventEmitter {
  readonly name: string;
  readonly pid: number | null;
  start(): Promise<this>;
  kill(signal: NodeJS.Signals): void;
  stop(signal?: NodeJS.Signals, graceMs?: number): Promise<void>;
}

export interface AgentOptions {
  name?: string;
  cpuMillis?: number;
  memoryBytes?: number;
  metricsPort?: number;
  env?: Record<string, string>;
}

export class LocalService extends EventEmitter {
  constructor(options: { home: string; ports: Ports; env?: Record<string, string>; say?: (line: string) => void });
  readonly url: string;
  readonly registryUrl: string;
  readonly metricsUrl: string;
  readonly databaseUrl: string;
  readonly admin: ApiClient;
  readonly agents: Map<string, Child>;
  readonly postgres: Child;
  readonly controlPlane: Child;
  readonly registry: Child;
  readonly home: { readonly path: string };
  readonly keys: { url: string; registry: string; adminKey: string; tenantKey: string };
  start(): Promise<this>;
  startAgent(options?: AgentOptions): Promise<Child>;
  stop(): Promise<void>;
}

export function chosenPorts(env?: NodeJS.ProcessEnv): Promise<Ports>;
export function freePorts(): Promise<Ports>;
