import { Controller, Get, Inject } from '@nestjs/common';
import { z } from 'zod';
import { Api } from './api.js';

/** The injection token of the document that `OpenApiController` serves. */
export const OPEN_API_DOCUMENT = Symbol('OpenApiDocument');

@Controller('openapi.json')
export class OpenApiController {
  constructor(@Inject(OPEN_API_DOCUMENT) private readonly document: Record<string, unknown>) {}

  @Get()
  @Api({ summary: 'This document', key: 'any', status: 200, answer: z.record(z.string(), z.unknown()) })
  get(): Record<string, unknown> {
    return this.document;
  }
}
