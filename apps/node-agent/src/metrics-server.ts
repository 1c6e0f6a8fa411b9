import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the agent shows of itself; each answers the body of its path. */
export interface MetricPages {
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
  /** Whether the agent does its work; the words say what is wrong. */
  health(): { readonly healthy: boolean; readonly detail: string };
  /** Disk use of images and the layers that they share. */
  images(): Promise<object>;
  /** What is on the machine of this node's and belongs to no attempt. */
  leftovers(): Promise<readonly object[]>;
}

/** Serves the pages on loopback alone. Returns the server and the port it got. */
export async function serveMetrics(port: number, pages: MetricPages): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((request, response) => {
    answer(request.method ?? '', request.url ?? '', pages).then(
      ({ status, contentType, text }) => {
        response.writeHead(status, { 'content-type': contentType }).end(text);
      },
      () => {
        response.writeHead(500, { 'content-type': 'text/plain' }).end('the page cannot be made\n');
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return { server, port: (server.address() as AddressInfo).port };
}

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly text: string;
}

async function answer(method: string, url: string, pages: MetricPages): Promise<Answer> {
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, contentType: 'text/plain', text: 'GET only\n' };
  switch (url.split('?', 1)[0]) {
    case '/metrics':
      return { status: 200, ...(await pages.metrics()) };
    case '/healthz': {
      const { healthy, detail } = pages.health();
      return { status: healthy ? 200 : 503, contentType: 'application/json', text: JSON.stringify({ healthy, detail }) };
    }
    case '/images':
      return { status: 200, contentType: 'application/json', text: JSON.stringify(await pages.images()) };
    case '/leftovers':
      return { status: 200, contentType: 'application/json', text: JSON.stringify(await pages.leftovers()) };
    default:
      return { status: 404, contentType: 'text/plain', text: 'there is /metrics, /healthz, /images and /leftovers\n' };
  }
}
