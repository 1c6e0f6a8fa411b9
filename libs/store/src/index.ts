export { SchemaRefused } from './migrate.js';
export { openStore, type StoreOptions } from './open-store.js';
export * from './ports.js';
