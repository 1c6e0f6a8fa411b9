import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { AppError } from '@berth/core';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifyServerOptions, fastify } from 'fastify';
import type { Config } from '../config.js';
import { jsonDepthExceeds } from './json-depth.js';
import { renderProblem, toAppError } from './problem.js';

const bodyLimitBytes = 1024 * 1024;
const jsonDepthMax = 32;

/** Fastify with our limits, for Nest to build on. Every refusal, even of what never reaches a route, is a problem document. */
export function createHttpAdapter(config: Config): FastifyAdapter {
  const options: FastifyServerOptions = {
    bodyLimit: bodyLimitBytes,
    requestTimeout: 30_000,
    keepAliveTimeout: 72_000,
    genReqId: requestId,
    requestIdHeader: false,
    exposeHeadRoutes: false,
    // A request that comes on an open connection while we stop is served, and told that the connection ends with it.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    clientErrorHandler: refuseMalformed,
    frameworkErrors: (error, request, reply) => {
      const { body, headers } = renderProblem(toAppError(error), request.id);
      void (reply as unknown as FastifyReply).code(body.status).headers(headers).send(JSON.stringify(body));
    },
  };
  const { tls } = config.listen;
  // The types part plain servers from those with TLS; nothing of ours depends on which it is.
  const server = fastify((tls === null ? options : { ...options, https: tls }) as FastifyServerOptions);
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'string' }, jsonParser(server));
  server.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
    reply.header('cache-control', 'no-store');
    reply.header('x-content-type-options', 'nosniff');
  });
  return new FastifyAdapter(server as never);
}

/** A caller's own id is kept where it is harmless, so that its logs and ours can be joined. */
function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : `req_${randomBytes(12).toString('hex')}`;
}

function jsonParser(server: FastifyInstance) {
  const parse = server.getDefaultJsonParser('error', 'error');
  return (request: FastifyRequest, text: string, done: (error: Error | null, body?: unknown) => void): void => {
    // Clients send the type out of habit with requests that have no body.
    if (text === '') done(null, undefined);
    else if (jsonDepthExceeds(text, jsonDepthMax)) {
      done(new AppError('invalidRequest', `the body is nested deeper than ${jsonDepthMax} levels`));
    } else {
      parse(request, text, (error, body) => {
        done(error === null ? null : new AppError('invalidRequest', 'the body is not valid JSON', {}, { cause: error }), body);
      });
    }
  };
}

/** Answers bytes that are no HTTP at all; there is no request to answer yet. */
function refuseMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW';
  refuseOnSocket(socket, new AppError('invalidRequest', tooLarge ? 'the headers are too large' : 'the request is not well-formed HTTP'));
}

/** Writes a problem document as a whole response onto a socket that has no response object, and closes it. */
export function refuseOnSocket(socket: Socket, refusal: AppError): void {
  const { body, headers } = renderProblem(refusal, undefined);
  const text = JSON.stringify(body);
  const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(text)), connection: 'close' });
  const head = [`HTTP/1.1 ${body.status} ${body.title}`, ...lines.map(([name, value]) => `${name}: ${value}`)].join('\r\n');
  if (socket.writable) socket.end(`${head}\r\n\r\n${text}`);
  else socket.destroy();
}
