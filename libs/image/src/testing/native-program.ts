import { join } from 'node:path';

/** A native program of this checkout (`make -C native`), or of BERTH_NATIVE_DIR. */
export const nativeProgram = (name: string): string =>
  join(process.env.BERTH_NATIVE_DIR ?? join(import.meta.dirname, '../../../../native/build'), name);

export const isRoot = process.getuid?.() === 0;
