import { readFileSync } from 'node:fs';
import { AppError, appErrorCodes } from '@berth/core';
import { problem, problemCodes } from '@berth/wire';
import { NotFoundException } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { renderProblem, toAppError } from './problem.js';

const document = readFileSync(new URL('../../../../docs/errors.md', import.meta.url), 'utf8');
const documented = [...document.matchAll(/^\| `(\w+)` +\| (\d{3}) /gm)].map(([, code, status]) => `${code} ${status}`);

describe('the table of codes', () => {
  it('is the same in docs/errors.md and in the contract', () => {
    const known = Object.entries(problemCodes).map(([code, { status }]) => `${code} ${status}`);
    expect([...documented].sort()).toEqual([...known].sort());
  });

  it('has every code that the core can refuse with', () => {
    expect(Object.keys(problemCodes).sort()).toEqual([...appErrorCodes].sort());
  });
});

describe('a problem', () => {
  it.each(appErrorCodes)('of code %s fits its schema', (code) => {
    const { body } = renderProblem(new AppError(code, 'detail'), 'req_1');
    expect(problem.parse(body)).toMatchObject({ code, type: `urn:berth:error:${code}`, requestId: 'req_1' });
  });

  it('says when to try again, where that may help', () => {
    expect(renderProblem(new AppError('overQuota', ''), undefined).headers['retry-after']).toBeDefined();
    expect(renderProblem(new AppError('quotaNeverFits', ''), undefined).headers['retry-after']).toBeUndefined();
  });

  it.each([
    [Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), 'unavailable'],
    [Object.assign(new Error('terminating'), { code: '57P01' }), 'unavailable'],
    [Object.assign(new Error('slots'), { code: '53300' }), 'unavailable'],
    [Object.assign(new Error('big'), { code: 'FST_ERR_CTP_BODY_TOO_LARGE', statusCode: 413 }), 'payloadTooLarge'],
    [Object.assign(new Error('type'), { code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE', statusCode: 415 }), 'unsupportedMediaType'],
    [Object.assign(new Error('other'), { code: 'FST_ERR_SOMETHING', statusCode: 400 }), 'invalidRequest'],
    [new Error('Connection terminated unexpectedly'), 'unavailable'],
    [new Error('timeout exceeded when trying to connect'), 'unavailable'],
    [new NotFoundException(), 'notFound'],
    [new TypeError('a bug'), 'internal'],
    ['a string', 'internal'],
  ])('is made of %s', (error, code) => {
    expect(toAppError(error).code).toBe(code);
  });

  it('tells nothing of a surprise', () => {
    const { body } = renderProblem(toAppError(new Error('password=secret at /srv/app.ts')), 'req_1');
    expect(JSON.stringify(body)).not.toMatch(/secret|srv/);
  });
});
