import { Controller, Get, type Type } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { controllers } from './controllers.js';
import { describeRoutes, openApiDocument } from './open-api.js';

type Json = Record<string, unknown>;
const document = openApiDocument(controllers) as {
  paths: Record<string, Record<string, Json>>;
  components: { schemas: Record<string, Json> };
};

describe('the OpenAPI document', () => {
  it('names a schema behind every reference', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, reference]) => reference ?? '');
    expect(references.length).toBeGreaterThan(20);
    for (const reference of references) {
      expect(document.components.schemas).toHaveProperty([reference.replace('#/components/schemas/', '')]);
    }
  });

  it('declares every path parameter, and each operation id once', () => {
    const ids: unknown[] = [];
    for (const [path, operations] of Object.entries(document.paths)) {
      const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      for (const operation of Object.values(operations)) {
        ids.push(operation.operationId);
        const declared = (operation.parameters as { in: string; name: string }[]).filter((parameter) => parameter.in === 'path');
        expect(declared.map(({ name }) => name).sort()).toEqual([...names].sort());
      }
    }
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('shows bodies as the contract has them, unknown fields refused', () => {
    const body = document.components.schemas.CreateRunRequest as { additionalProperties: boolean; required: string[]; properties: Json };
    expect(body).toMatchObject({ additionalProperties: false, required: ['image'] });
    expect(Object.keys(body.properties)).toContain('onNodeLost');
  });

  it('lists the query of a listing with its bounds', () => {
    const parameters = document.paths['/v1/runs']?.get?.parameters as { name: string; in: string; schema: Json }[];
    expect(parameters.find(({ name }) => name === 'limit')).toMatchObject({
      in: 'query',
      schema: { type: 'integer', maximum: 200, default: 50 },
    });
  });

  it('puts the admin key on all of /v1/admin and a key on all but what must be open', () => {
    for (const { path, description } of describeRoutes(controllers)) {
      const isOpen = ['/healthz', '/readyz', '/v1/nodes/join', '/v1/nodes/link'].includes(path);
      const expected = path.startsWith('/v1/admin/') ? 'admin' : isOpen ? 'none' : path === '/openapi.json' ? 'any' : 'tenant';
      expect([path, description.key]).toEqual([path, expected]);
    }
  });

  it('says of every change which entry of the audit log tells of it, but for those that a history of their own tells of', () => {
    const told = ['POST /v1/runs', 'POST /v1/nodes/join'];
    for (const { method, path, description } of describeRoutes(controllers)) {
      const isChange = method !== 'GET' && !told.includes(`${method} ${path}`);
      expect([method, path, description.audited !== undefined]).toEqual([method, path, isChange]);
      if (description.scope !== undefined)
        expect([method, path, description.scope.split(':')[1]]).toEqual([method, path, method === 'GET' ? 'read' : 'write']);
    }
  });

  it('cannot be made of a route that describes nothing', () => {
    class Bare {
      hello(): void {}
    }
    Get('hello')(Bare.prototype, 'hello', Object.getOwnPropertyDescriptor(Bare.prototype, 'hello') as PropertyDescriptor);
    Controller('bare')(Bare);
    expect(() => describeRoutes([Bare as Type])).toThrow('Bare.hello has no @Api');
  });
});
