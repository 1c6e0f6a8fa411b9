export { configFrom, type RegistryConfig } from './config.js';
export { type RegistryKeys, type RunningRegistry, startRegistry } from './start-registry.js';
