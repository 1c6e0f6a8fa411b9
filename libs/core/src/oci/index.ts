export * from './build-config.js';
export * from './environment.js';
export * from './id-range.js';
export * from './image-user.js';
export * from './oci-config.js';
export * from './process.js';
export * from './signals.js';
