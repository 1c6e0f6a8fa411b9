import { pino } from 'pino';
import { Agent } from './agent.js';
import { readConfig } from './config.js';

const config = readConfig(process.env);
const log = pino({ name: 'node-agent', level: config.logLevel }, pino.destination(2));
const { protocol, hostname } = new URL(config.url);
if (protocol === 'http:' && !['127.0.0.1', 'localhost', '[::1]'].includes(hostname)) {
  log.warn({ url: config.url }, 'the credential of this node crosses the network in clear: give the control plane TLS');
}
const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stopping.abort());

try {
  const agent = await Agent.start(config, log, stopping.signal);
  process.stdout.write(`listening on http://127.0.0.1:${agent.metricsPort}\n`);
  if (!stopping.signal.aborted) await new Promise((resolve) => stopping.signal.addEventListener('abort', resolve, { once: true }));
  log.info({ stopContainers: config.stopContainers }, 'stopping');
  await agent.stop();
  process.exit(0);
} catch (error) {
  if (!stopping.signal.aborted) log.fatal({ err: error }, 'the agent cannot run');
  process.exit(stopping.signal.aborted ? 0 : 1);
}
