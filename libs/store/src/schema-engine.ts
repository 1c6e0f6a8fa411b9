import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from '@prisma/driver-adapter-utils';
import type { MigrationList, SchemaEngine } from '@prisma/schema-engine-wasm';
import pg from 'pg';

/*
 * Prisma's schema engine as WebAssembly. The native one is downloaded at install time from a host that an installation may not reach; this one
 * comes with its package. The package is written for bundlers that import .wasm files, so the module is instantiated by hand.
 */
// Node has it, but its types come with TypeScript's browser library only.
declare const WebAssembly: {
  instantiate(bytes: Uint8Array, imports: Record<string, unknown>): Promise<{ instance: { exports: Record<string, unknown> } }>;
};

type Glue = typeof import('@prisma/schema-engine-wasm') & { __wbg_set_wasm(exports: unknown): void };

let loaded: Promise<Glue> | null = null;

async function loadGlue(): Promise<Glue> {
  const name = '@prisma/schema-engine-wasm/schema_engine_bg';
  const gluePath = createRequire(import.meta.url).resolve(name);
  const glue = (await import(name)) as Glue;
  const bytes = await readFile(gluePath.replace(/\.js$/, '.wasm'));
  const { instance } = await WebAssembly.instantiate(bytes, { './schema_engine_bg.js': glue });
  glue.__wbg_set_wasm(instance.exports);
  (instance.exports.__wbindgen_start as () => void)();
  return glue;
}

/** Runs `use` with an engine connected to the database at `url`, and closes it. `datamodel` is the text of a schema.prisma. */
export async function withSchemaEngine<T>(url: string, datamodel: string, use: (engine: SchemaEngine) => Promise<T>): Promise<T> {
  loaded ??= loadGlue();
  const { SchemaEngine } = await loaded;
  const pool = new pg.Pool({ connectionString: url, max: 1 });
  const adapter = bindMigrationAwareSqlAdapterFactory(readingChar(pool));
  try {
    const engine = await SchemaEngine.new({ datamodels: [['schema.prisma', datamodel]] }, () => {}, adapter);
    try {
      return await use(engine);
    } finally {
      engine.free();
    }
  } finally {
    await pool.end();
  }
}

const charType = 18;
const textType = 25;

/**
 * Prisma's adapter, and beyond it Postgres's internal type "char", of which the catalogs are full: the adapter knows no name for it, though the
 * engine does. Its columns pass through the adapter as text and are named again behind it. The engine asks one question at a time.
 */
function readingChar(pool: pg.Pool): PrismaPg {
  let charColumns: number[] = [];
  const query = pool.query.bind(pool) as (config: pg.QueryConfig) => Promise<pg.QueryResult>;
  const asText = async (config: pg.QueryConfig): Promise<pg.QueryResult> => {
    const result = await query(config);
    charColumns = (result.fields ?? []).flatMap((field, column) => (field.dataTypeID === charType ? [column] : []));
    for (const column of charColumns) Object.assign(result.fields[column] ?? {}, { dataTypeID: textType });
    return result;
  };
  pool.query = asText as typeof pool.query;

  const factory = new PrismaPg(pool);
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    // The adapter cuts scripts at every semicolon, those in the bodies of functions included. The server takes a script whole, as one transaction.
    adapter.executeScript = async (script) => {
      await query({ text: script }).catch((error: unknown) => (adapter as unknown as { onError(error: unknown): never }).onError(error));
    };
    const queryRaw = adapter.queryRaw.bind(adapter);
    adapter.queryRaw = async (question) => {
      const answer = await queryRaw(question);
      for (const column of charColumns) answer.columnTypes[column] = ColumnTypeEnum.Character;
      return answer;
    };
    return adapter;
  };
  return factory;
}

export type { MigrationList };
