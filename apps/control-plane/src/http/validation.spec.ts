import { AppError } from '@berth/core';
import { createRunRequest } from '@berth/wire';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { IdPipe, RequestValidationPipe } from './validation.js';

const pipe = new RequestValidationPipe();
const check = (value: unknown, schema: z.ZodType = createRunRequest) => pipe.transform(value, { type: 'body', schema });
const refusal = async (value: unknown): Promise<AppError> => {
  const error = await check(value).catch((caught: unknown) => caught);
  if (!(error instanceof AppError)) throw new Error('was not refused');
  return error;
};
const fields = (error: AppError) => (error.members.errors as { field: string; message: string }[]).map(({ field }) => field);

describe('a request body', () => {
  it('that is valid comes through unchanged', async () => {
    const body = { image: 'a', env: { prototype: 'p', constructor: 'c' }, labels: { prototype: 'x' } };
    expect(await check(body)).toEqual(body);
  });

  it('with a field too many is refused naming it', async () => {
    const error = await refusal({ image: 'a', gpu: 1, resources: { gpus: 2 } });
    expect(error.code).toBe('unsupportedField');
    expect(fields(error)).toEqual(['resources.gpus', 'gpu']);
  });

  it('with bad values is refused naming each and the fix', async () => {
    const error = await refusal({ image: 'a', resources: { memoryBytes: 1 }, timeoutMs: 'x', extra: 1 });
    expect(error.code).toBe('invalidRequest');
    expect(fields(error)).toEqual(['resources.memoryBytes', 'timeoutMs', 'extra']);
    expect(JSON.stringify(error.members)).toContain('8388608');
  });

  it.each([
    [{ 'A=B': 'x' }, 'env.A=B'],
    [{ 'A\nB': 'x' }, 'env.A\nB'],
    [{ '': 'x' }, 'env.'],
    [{ A: 'x\0' }, 'env.A'],
    [{ A: 1 }, 'env.A'],
  ])('with the environment %j is refused', async (env, field) => {
    expect(new Set(fields(await refusal({ image: 'a', env })))).toEqual(new Set([field]));
  });

  it.each([null, [], 'text', 7, true])('%j is refused', async (value) => {
    expect((await refusal(value)).code).toBe('invalidRequest');
  });

  it('that is absent is refused saying what to send', async () => {
    expect((await refusal(undefined)).detail).toContain('application/json');
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, -1, 0, 1.5, '500', Number.MAX_SAFE_INTEGER + 2])(
    'with %s cpuMillis is refused',
    async (cpuMillis) => {
      expect(new Set(fields(await refusal({ image: 'a', resources: { cpuMillis } })))).toEqual(new Set(['resources.cpuMillis']));
    },
  );

  it('with very many faults is refused naming some', async () => {
    const env = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`A${i}`, 1]));
    expect(fields(await refusal({ image: 'a', env }))).toHaveLength(50);
  });
});

describe('an id in the path', () => {
  it.each(['', 'x', 'run_', 'run_01M84HRXQ4G7C9H2RT5B16RK65', 'node_01m84hrxq4g7c9h2rt5b16rk65', "run_'; DROP TABLE runs"])(
    '%j answers as an id that nobody has',
    (text) => {
      expect(() => new IdPipe('run').transform(text)).toThrow(new AppError('notFound', 'there is no run with this id'));
    },
  );
});
