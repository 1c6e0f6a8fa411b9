import type { Node, Problem, Quota, Tenant } from '@berth/wire';

export class ApiRefusal extends Error {
  readonly status: number;
  readonly problem: Problem | null;
}

/** Answers are what the schemas of @berth/wire describe; the caller names which. */
export interface ApiClient {
  get<T = unknown>(path: string): Promise<T>;
  post<T = unknown>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T>;
  patch<T = unknown>(path: string, body: unknown): Promise<T>;
  delete<T = unknown>(path: string): Promise<T>;
}

export function apiClient(url: string, key: string): ApiClient;
export function ensureTenant(admin: ApiClient, name: string, quota?: Partial<Quota>): Promise<Tenant>;
export function createKey(admin: ApiClient, tenant: { id: string }, name: string): Promise<string>;
export function createJoinToken(admin: ApiClient): Promise<string>;
export function listNodes(admin: ApiClient): Promise<Node[]>;
