import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { SweepOutcome } from './sweep/sweep-registry.js';

/** What the registry counts about itself, all under `berth_registry_`. Labels never hold a tenant's or a repository's name. */
export class RegistryMetrics {
  readonly registry = new Registry();

  readonly #requests = new Counter({
    name: 'berth_registry_http_requests_total',
    help: 'Requests answered, by method, kind of endpoint and status',
    labelNames: ['method', 'endpoint', 'status'],
    registers: [this.registry],
  });
  readonly #duration = new Histogram({
    name: 'berth_registry_http_request_duration_seconds',
    help: 'From the head of a request to the end of its answer, bodies included',
    labelNames: ['method', 'endpoint'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
    registers: [this.registry],
  });
  readonly #received = new Counter({
    name: 'berth_registry_received_bytes_total',
    help: 'Bytes of requests, heads included',
    registers: [this.registry],
  });
  readonly #sent = new Counter({
    name: 'berth_registry_sent_bytes_total',
    help: 'Bytes of answers, as announced',
    registers: [this.registry],
  });
  readonly #blobs = new Counter({
    name: 'berth_registry_blobs_committed_total',
    help: 'Blobs that uploads ended in, by whether their bytes were here before',
    labelNames: ['content'],
    registers: [this.registry],
  });
  readonly #contents = new Gauge({
    name: 'berth_registry_contents',
    help: 'Blobs and manifests stored, at the last sweep',
    registers: [this.registry],
  });
  readonly #contentBytes = new Gauge({
    name: 'berth_registry_content_bytes',
    help: 'Their bytes, at the last sweep',
    registers: [this.registry],
  });
  readonly #sweeps = new Counter({
    name: 'berth_registry_sweeps_total',
    help: 'Passes of the garbage collector',
    labelNames: ['outcome'],
    registers: [this.registry],
  });
  readonly #freed = new Counter({
    name: 'berth_registry_freed_bytes_total',
    help: 'Bytes that the garbage collector removed',
    registers: [this.registry],
  });

  constructor(openUploads: () => number) {
    collectDefaultMetrics({ register: this.registry, prefix: 'berth_registry_' });
    new Gauge({
      name: 'berth_registry_open_uploads',
      help: 'Uploads that were begun and not finished',
      registers: [this.registry],
      collect() {
        this.set(openUploads());
      },
    });
    for (const content of ['stored', 'known']) this.#blobs.inc({ content }, 0);
    for (const outcome of ['completed', 'failed']) this.#sweeps.inc({ outcome }, 0);
  }

  answered(request: { method: string; endpoint: string; status: number; seconds: number; receivedBytes: number; sentBytes: number }): void {
    this.#requests.inc({ method: request.method, endpoint: request.endpoint, status: request.status });
    this.#duration.observe({ method: request.method, endpoint: request.endpoint }, request.seconds);
    this.#received.inc(request.receivedBytes);
    this.#sent.inc(request.sentBytes);
  }

  committed(content: 'stored' | 'known'): void {
    this.#blobs.inc({ content });
  }

  swept(outcome: SweepOutcome | 'failed'): void {
    this.#sweeps.inc({ outcome: outcome === 'failed' ? 'failed' : 'completed' });
    if (outcome === 'failed') return;
    this.#contents.set(outcome.contents);
    this.#contentBytes.set(outcome.contentBytes);
    this.#freed.inc(outcome.freedBytes);
  }
}
