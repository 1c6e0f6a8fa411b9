import { fileURLToPath } from 'node:url';
import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaApiKeyStore } from './api-key-store.js';
import { PrismaAuditStore } from './audit-store.js';
import { PrismaClient } from './generated/client.js';
import { PostgresLayerStore } from './layer-store.js';
import { PostgresLogStore } from './log-store.js';
import { PostgresMemberStore } from './member-store.js';
import { migrateDatabase } from './migrate.js';
import { PrismaNodeStore } from './node-store.js';
import { openPool } from './pool.js';
import type { Store } from './ports.js';
import { PostgresQuestionStore } from './question-store.js';
import { PrismaRunStore } from './run-store.js';
import { PrismaTenantStore } from './tenant-store.js';

export interface StoreOptions {
  /** `postgres://user:password@host:port/database` */
  readonly url: string;
  /** Connections at most; every method takes one at a time. */
  readonly poolSize: number;
  /** Prisma's folder of migrations; the one of this program by default. */
  readonly migrationsDirectory?: string;
}

const ownMigrations = fileURLToPath(new URL('../../../prisma/migrations', import.meta.url));

/** Everything Berth remembers, over one pool. Connects when first used; call `migrate` before anything else. */
export function openStore(options: StoreOptions): Store {
  const pool = openPool(options.url, options.poolSize);
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });
  return {
    tenants: new PrismaTenantStore(prisma, pool),
    apiKeys: new PrismaApiKeyStore(prisma, pool),
    members: new PostgresMemberStore(pool),
    audit: new PrismaAuditStore(prisma, pool),
    nodes: new PrismaNodeStore(prisma, pool),
    runs: new PrismaRunStore(prisma, pool),
    logs: new PostgresLogStore(pool),
    questions: new PostgresQuestionStore(pool),
    layers: new PostgresLayerStore(pool),
    migrate: () => migrateDatabase(options.url, options.migrationsDirectory ?? ownMigrations),
    ping: async () => {
      await pool.query('SELECT 1');
    },
    close: async () => {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}
