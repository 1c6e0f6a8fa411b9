export * from './cli-container-runtime.js';
export * from './container-runtime.js';
export * from './process-identity.js';
export * from './shim-directory.js';
export * from './shim-exit.js';
export * from './shim-launcher.js';
export * from './shim-socket.js';
export * from './spawn-shim-launcher.js';
