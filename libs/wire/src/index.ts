export * from './access.js';
export * from './admin.js';
export * from './agent.js';
export * from './fairness.js';
export * from './images.js';
export * from './primitives.js';
export * from './problem.js';
export * from './run.js';
