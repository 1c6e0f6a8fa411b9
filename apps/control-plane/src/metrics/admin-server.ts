import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Readiness } from '../readiness.js';
import type { Metrics } from './metrics.js';

export interface AdminServer {
  readonly url: string;
  close(): Promise<void>;
}

/** The operator's port: /metrics for Prometheus, and the health checks, without keys and apart from tenants' traffic. */
export async function startAdminServer(
  listen: { host: string; port: number },
  metrics: Metrics,
  readiness: Readiness,
): Promise<AdminServer> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    if (request.method !== 'GET') return answer(response, 405, 'only GET is served here\n');
    if (path === '/healthz') return answer(response, 200, 'ok\n');
    if (path === '/readyz') {
      return void readiness.assertReady().then(
        () => answer(response, 200, 'ok\n'),
        (error: Error) => answer(response, 503, `${error.message}\n`),
      );
    }
    if (path !== '/metrics') return answer(response, 404, 'there is /metrics, /healthz and /readyz\n');
    metrics.registry.metrics().then(
      (text) => answer(response, 200, text, metrics.registry.contentType),
      (error: Error) => answer(response, 500, `${error.message}\n`),
    );
  });
  server.listen(listen.port, listen.host);
  await once(server, 'listening');
  return { url: serverUrl('http', server, listen.host), close: () => closeServer(server) };
}

/** Where a listening server can be reached. */
export function serverUrl(scheme: 'http' | 'https', server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function closeServer(server: Server): Promise<void> {
  server.close();
  server.closeIdleConnections();
  await once(server, 'close');
}

function answer(response: ServerResponse, status: number, text: string, contentType = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': contentType }).end(text);
}
