import { createHash } from 'node:crypto';

/** Bytes that gzip does not shrink, the same each time. */
export const incompressible = (length: number): Buffer =>
  Buffer.concat(Array.from({ length: Math.ceil(length / 32) }, (_, index) => createHash('sha256').update(`${index}`).digest())).subarray(
    0,
    length,
  );
