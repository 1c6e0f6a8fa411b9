export { Agent } from './agent.js';
export { type AgentConfig, readConfig } from './config.js';
export type { Leftover } from './recovery/leftovers.js';
