import { Controller, Get } from '@nestjs/common';
import { z } from 'zod';
import { Readiness } from '../readiness.js';
import { Api } from './api.js';

const healthy = z.object({ status: z.literal('ok') });

@Controller()
export class HealthController {
  constructor(private readonly readiness: Readiness) {}

  @Get('healthz')
  @Api({ summary: 'Whether the process lives', key: 'none', status: 200, answer: healthy })
  alive(): z.infer<typeof healthy> {
    return { status: 'ok' };
  }

  @Get('readyz')
  @Api({
    summary: 'Whether it can serve: Postgres and the queue answer, and it is not stopping',
    key: 'none',
    status: 200,
    answer: healthy,
    problems: ['unavailable'],
  })
  async ready(): Promise<z.infer<typeof healthy>> {
    await this.readiness.assertReady();
    return { status: 'ok' };
  }
}
