export { type Config, readConfig } from './config.js';
export { createLogger } from './logger.js';
export { type ControlPlane, startControlPlane } from './start-control-plane.js';
