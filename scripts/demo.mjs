#!/usr/bin/env node
// Sets everything up, starts the service in a home of its own, shows it at work and takes everything away again. Exits 0 only when all that it shows is
// as it should be.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setup } from './setup.mjs';

async function main() {
  setup();
  if (process.getuid() !== 0) throw new Error('containers need root: run this as root');
  const { counts, settledLeftovers, takeInventory } = await import('./machine-inventory.mjs');
  const { Stage } = await import('./demo/stage.mjs');

  const stage = new Stage();
  const before = takeInventory();
  // On a disk: /tmp is memory on some machines, and disk use is part of what is shown.
  const home = mkdtempSync('/var/tmp/berth-demo-');
  const ids = [];
  try {
    await perform(stage, home, ids);
  } catch (error) {
    stage.broken.push(error.stack ?? error.message);
  } finally {
    if (stage.broken.length > 0) quoteComplaints(stage, join(home, 'log'));
    rmSync(home, { recursive: true, force: true });
  }

  stage.heading('Afterwards');
  const ofRuns = (text) => text.includes(home) || ids.some((id) => text.includes(id));
  // The cgroups above the runs' own: ours too, unless another Berth runs on this machine.
  const others = () => [...takeInventory().processes.values()].some((text) => text.includes('berth-shim'));
  const ofParents = (text, kind) => kind === 'cgroups' && /\/berth[\w-]*$/.test(text) && !others();
  const left = await settledLeftovers(before, (text, kind) => ofRuns(text) || ofParents(text, kind), 15_000);
  const after = counts(takeInventory());
  stage.table(
    ['', 'before', 'after'],
    Object.entries(counts(before)).map(([kind, count]) => [kind, count, after[kind]]),
  );
  stage.remark('of the whole machine; other programs start and end meanwhile');
  stage.fact('left behind', left.length === 0 ? 'nothing' : `${left.length} things`, left.length === 0);
  if (left.length > 0) stage.quote(left.join('\n'));
  return stage.broken;
}

/** What the parts logged as warnings or worse: the home and its logs go, the reason should not. */
function quoteComplaints(stage, folder) {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    const complaints = readFileSync(join(folder, name), 'utf8')
      .split('\n')
      .filter((line) => /"level":[456]0|ERROR|FATAL|PANIC/.test(line));
    if (complaints.length === 0) continue;
    stage.remark(`${name}: the last of ${complaints.length} complaints`);
    stage.quote(complaints.slice(-5).join('\n'));
  }
}

async function perform(stage, home, ids) {
  const { LocalService, freePorts } = await import('./service/local-service.mjs');
  const { DemoTenant } = await import('./demo/tenant.mjs');
  const { DemoImages } = await import('./demo/images.mjs');
  const { scenes } = await import('./demo/scenes.mjs');
  const { sharing } = await import('./demo/sharing.mjs');

  stage.heading('Service: embedded Postgres, control plane, registry, one agent');
  const service = new LocalService({ home, ports: await freePorts() });
  const interrupted = onInterrupt();
  const failed = new Promise((_, reject) => service.once('gave-up', reject));
  const tenants = [];
  const play = async () => {
    await timed(stage, 'Postgres, control plane, registry', () => service.start());
    await timed(stage, 'agent, joined and ready', () => service.startAgent());
    stage.fact('BullMQ on', process.env.BERTH_REDIS_URL ? 'Redis' : 'Postgres');
    const acme = await DemoTenant.create(service, 'acme');
    const globex = await DemoTenant.create(service, 'globex', { concurrentRuns: 2 });
    tenants.push(acme, globex);
    const images = await DemoImages.build(stage);
    await images.pushAll(stage, [acme, globex]);
    const context = { service, acme, globex, images };
    for (const scene of scenes) await scene(stage, context);
    sharing(stage, { ...context, registryFolder: join(home, 'registry'), agentFolder: join(home, 'agent') });
  };
  try {
    await Promise.race([play(), failed, interrupted]);
  } finally {
    ids.push(...tenants.flatMap((tenant) => tenant.ids));
    await service.stop();
  }
}

async function timed(stage, label, action) {
  const start = performance.now();
  await action();
  stage.fact(label, `${((performance.now() - start) / 1000).toFixed(1)} s`);
}

/** Rejects on Ctrl-C, so that everything is taken away all the same. */
const onInterrupt = () =>
  new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => reject(new Error(`ended by ${signal}`)));
  });

const start = performance.now();
main().then(
  (broken) => {
    const took = `${((performance.now() - start) / 1000).toFixed(0)} s`;
    if (broken.length === 0) console.log(`\nAll as it should be, in ${took}.`);
    else console.error(`\nNot as it should be, after ${took}:\n${broken.map((line) => `  ${line}`).join('\n')}`);
    process.exitCode = broken.length === 0 ? 0 : 1;
  },
  (error) => {
    console.error(`demo: ${error.message}`);
    process.exitCode = 1;
  },
);
