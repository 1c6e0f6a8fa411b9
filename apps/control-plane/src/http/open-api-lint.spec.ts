import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, it } from 'vitest';
import { controllers } from './controllers.js';
import { openApiDocument } from './open-api.js';

type Json = Record<string, unknown>;
interface Operation extends Json {
  readonly operationId: string;
  readonly summary: string;
  readonly tags: readonly string[];
  readonly responses: Record<string, { description: string; content?: Json }>;
}
const document = openApiDocument(controllers) as Json & {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Json> };
};
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
);

/** Every object of the document, with where it stands. */
function* objects(value: unknown, at = ''): Generator<{ at: string; value: Json }> {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) yield { at, value: value as Json };
  for (const [key, inner] of Object.entries(value)) yield* objects(inner, `${at}/${key}`);
}

describe('the OpenAPI document, linted', () => {
  it('is one by the specification’s own schema of 3.1, and would not be with a fault in it', async () => {
    expect(await new Validator().validate(structuredClone(document))).toEqual({ valid: true });
    const [[path, methods] = ['', {}]] = Object.entries(structuredClone(document.paths));
    const [method = ''] = Object.keys(methods);
    const spoilt = { ...structuredClone(document), paths: { [path]: { [method]: { responses: 'none' } } } };
    expect((await new Validator().validate(spoilt)).valid).toBe(false);
  });

  it('has lower-case paths, and camel-case names of parameters and properties', () => {
    const path = /^(\/([a-z0-9]+(-[a-z0-9]+)*(\.json)?|\{[a-z][A-Za-z]*\}))+$/;
    expect(Object.keys(document.paths).filter((one) => !path.test(one))).toEqual([]);
    const camel = /^[a-z][A-Za-z0-9]*$/;
    const odd = [...objects(document.components)].flatMap(({ at, value }) =>
      typeof value.properties === 'object' && !at.endsWith('/properties')
        ? Object.keys(value.properties ?? {}).flatMap((name) => (camel.test(name) ? [] : [`${at}: ${name}`]))
        : [],
    );
    expect(odd).toEqual([]);
  });

  it('sums each operation up in a line of its own, under one tag', () => {
    expect(operations.filter(({ operation }) => !/^[A-Z][^\n]*[^.\s]$/.test(operation.summary)).map(({ name }) => name)).toEqual([]);
    expect(operations.filter(({ operation }) => operation.tags.length !== 1).map(({ name }) => name)).toEqual([]);
    expect(new Set(operations.map(({ operation }) => operation.summary)).size).toBe(operations.length);
  });

  it('has one good answer at least for each, and every refusal as a problem', () => {
    for (const { name, operation } of operations) {
      const statuses = Object.keys(operation.responses);
      expect(statuses.filter((status) => /^[12]/.test(status)).length, name).toBeGreaterThan(0);
      for (const status of statuses.filter((one) => /^[45]/.test(one))) {
        expect(Object.keys(operation.responses[status]?.content ?? {}), `${name} ${status}`).toEqual(['application/problem+json']);
      }
    }
  });

  it('names no schema that nothing refers to, and says nothing beside a reference', () => {
    const text = JSON.stringify(document);
    const unused = Object.keys(document.components.schemas).filter((name) => !text.includes(`"#/components/schemas/${name}"`));
    expect(unused).toEqual([]);
    const beside = [...objects(document)].filter(({ value }) => typeof value.$ref === 'string' && 'type' in value);
    expect(beside.map(({ at }) => at)).toEqual([]);
  });
});
