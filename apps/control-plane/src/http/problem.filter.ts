import { type ArgumentsHost, Catch, type ExceptionFilter, Inject } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LOGGER, type Logger } from '../logger.js';
import { renderProblem, toAppError } from './problem.js';

/** Turns whatever a request ended with into one problem document. What the service did not expect is logged with its cause. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const refusal = toAppError(error);
    if (refusal.code === 'internal' || refusal.code === 'unavailable') {
      this.logger.error({ requestId: request.id, err: refusal.cause ?? refusal }, refusal.code);
    }
    if (reply.raw.headersSent) {
      // Half an answer must not look whole.
      reply.raw.destroy();
      return;
    }
    const { body, headers } = renderProblem(refusal, request.id);
    void reply.code(body.status).headers(headers).send(JSON.stringify(body));
  }
}
