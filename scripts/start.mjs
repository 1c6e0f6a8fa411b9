#!/usr/bin/env node
// The whole service on this machine, in the foreground; Ctrl-C stops it. A later start finds its data in $BERTH_HOME.
import { root, setup } from './setup.mjs';

const say = (line) => console.error(`start: ${line}`);

async function main() {
  setup();
  if (process.getuid() !== 0) throw new Error('containers need root: run this as root (namespaces, mounts and cgroups are made for each)');
  const { chosenPorts, LocalService } = await import('./service/local-service.mjs');
  const { homePath } = await import('./service/home.mjs');

  const service = new LocalService({ home: homePath(), ports: await chosenPorts(), say });
  service.on('crashed', (name, how) => say(`the ${name} ${how}; starting it again`));
  service.on('restarted', (name) => say(`the ${name} is back`));
  const stopped = stopOnSignal(service);
  const failed = new Promise((_, reject) => service.once('gave-up', reject));
  try {
    await Promise.race([bringUp(service), stopped, failed]);
    await Promise.race([stopped, failed]);
  } finally {
    await service.stop();
  }
  say('stopped');
}

async function bringUp(service) {
  await service.start();
  await service.startAgent();
  console.log(greeting(service));
}

/** Resolves on the first signal; the second ends at once, and the kernel then ends the parts. */
function stopOnSignal(service) {
  let asked = false;
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.on(signal, () => {
        if (asked) process.exit(130);
        asked = true;
        service.say(`${signal}: stopping; once more to end at once`);
        resolve();
      });
    }
  });
}

function greeting({ url, registryUrl, metricsUrl, home }) {
  // The CLI finds keys.json by itself only where it would be without a word.
  const berth = process.env.BERTH_HOME ? `BERTH_HOME=${home.path} npx berth` : 'npx berth';
  return `
Berth runs.
  API       ${url}        (${url}/openapi.json describes it)
  registry  ${registryUrl}        (registry.berth/TENANT/NAME in a run)
  metrics   ${metricsUrl}
  keys      ${home.path}/keys.json

Another terminal:
  skopeo copy --dest-tls-verify=false --dest-creds "x:$(node -p 'require("${home.path}/keys.json").tenantKey')" \\
    SOURCE docker://${registryUrl.replace('http://', '')}/default/NAME:TAG
  ${berth} run registry.berth/default/NAME:TAG
  ${berth} ps

Another agent (here as a second one on this machine; elsewhere BERTH_URL names this one):
  BERTH_URL=${url} BERTH_JOIN_TOKEN=$(${berth} join-token) BERTH_NODE_NAME=second \\
    BERTH_AGENT_DIR=${home.path}-second BERTH_AGENT_METRICS_PORT=0 node ${root}/apps/node-agent/dist/main.js

Ctrl-C stops it.
`;
}

main().catch((error) => {
  console.error(`start: ${error.message}`);
  process.exitCode = 1;
});
