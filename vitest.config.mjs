import { defineConfig } from 'vitest/config';

// Tests run as compiled: what is tested is what is shipped, decorators' metadata included.
export default defineConfig({
  test: {
    include: ['{libs,apps}/*/dist/**/*.spec.js', 'test/dist/**/*.spec.js'],
    exclude: ['**/node_modules/**'],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
