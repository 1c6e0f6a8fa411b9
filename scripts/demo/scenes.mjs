import { bytes, milliseconds, percentile } from './stage.mjs';

/**
 * What the demo shows, scene by scene. Each takes the stage and `{ service, acme, globex, images }`, prints what it measured and says what must hold.
 */
export const scenes = [inside, endings, copyOnWrite, pinning, refusals, latency];

const MiB = 1 << 20;

/** What a Node.js program sees of its container. */
async function inside(stage, { acme }) {
  stage.heading('Inside: a Node.js program in a container, as tenant acme');
  const run = await acme.run({
    image: acme.image('report:v1'),
    hostname: 'inside',
    resources: { memoryBytes: 96 * MiB, cpuMillis: 500 },
  });
  const seen = parse(run.output);
  stage.fact('run', `${run.id}: ${run.state}, exit code ${run.exitCode}`, run.state === 'succeeded' && run.exitCode === 0);
  stage.fact('process id', seen.pid, seen.pid === 1);
  stage.fact('hostname', seen.hostname, seen.hostname === 'inside');
  stage.fact('memory limit, from its cgroup', bytes(seen.memoryLimitBytes), seen.memoryLimitBytes === 96 * MiB);
  stage.fact('Node.js', seen.node, seen.node === process.version);
  for (const [path, size] of Object.entries(seen.files ?? {})) stage.fact(`file of a layer: ${path}`, bytes(size), size > 0);
  const { peakMemoryBytes, cpuTimeMs } = run.attempts.at(-1).usage;
  stage.fact(
    'peak memory',
    peakMemoryBytes === null ? 'unknown' : bytes(peakMemoryBytes),
    peakMemoryBytes > 0 && peakMemoryBytes <= 96 * MiB,
  );
  stage.fact('cpu time', cpuTimeMs === null ? 'unknown' : milliseconds(cpuTimeMs), cpuTimeMs > 0);
}

/** How runs end, and whose fault it was. */
async function endings(stage, { acme, globex }) {
  stage.heading('Endings: exit codes, a signal, memory, time');
  const image = acme.image('exits:v1');
  const cases = [
    {
      title: 'exits with 0',
      tenant: acme,
      request: { image, args: ['code', '0'] },
      holds: (run) => run.state === 'succeeded' && run.exitCode === 0,
    },
    {
      title: 'exits with 37',
      tenant: acme,
      request: { image, args: ['code', '37'] },
      holds: (run) => run.exitCode === 37 && run.failure?.code === 'nonZeroExit',
    },
    {
      title: 'takes more than its 64 MiB',
      tenant: globex,
      request: { image: globex.image('exits:v1'), args: ['memory'], resources: { memoryBytes: 64 * MiB } },
      holds: (run) => run.failure?.code === 'outOfMemory' && run.failure.blame === 'user' && run.attempts.at(-1).oomKilled,
    },
    {
      title: 'takes longer than its 1 s',
      tenant: globex,
      request: { image: globex.image('exits:v1'), command: ['/bin/sleep', '60'], timeoutMs: 1000, stopGraceMs: 200 },
      holds: (run) => run.failure?.code === 'timeout',
    },
  ];
  const ended = await Promise.all(cases.map(async ({ tenant, request }) => tenant.run(request)));
  for (const [index, { title, tenant, holds }] of cases.entries()) {
    const run = ended[index];
    const why = run.failure ? `, ${run.failure.code} (${run.failure.blame}): ${run.failure.message}` : '';
    const how = run.signal === null ? `exit code ${run.exitCode}` : `signal ${run.signal}`;
    stage.fact(`${tenant.name}: ${title}`, `${run.state}, ${how}${why}`, holds(run));
  }
}

/** One container changes a file of a lower layer; the next one sees the original. */
async function copyOnWrite(stage, { acme }) {
  stage.heading('Copy-on-write: /etc/motd belongs to the base layer');
  const image = acme.image('notebook:v1');
  const first = await acme.run({ image, args: ['changed by the first container'] });
  const second = await acme.run({ image });
  stage.remark('first container');
  stage.quote(first.output);
  stage.remark('second container, same image');
  stage.quote(second.output);
  const original = /found: +(.*)/.exec(first.output)?.[1];
  stage.fact('the second sees the original', original ?? '(nothing)', Boolean(original) && second.output.trim() === `found:   ${original}`);
  stage.fact('the first saw its change', 'yes', first.output.includes('changed: changed by the first container'));
}

/** A tag moves; what was submitted before keeps the digest it was resolved to, and so does whoever names a digest. */
async function pinning(stage, { acme, images }) {
  stage.heading('Pinning: a tag moves while a run holds the audited digest');
  await images.tag(acme, 'report', 'stable', 'v1');
  const holder = await acme.submit({ image: acme.image('report:stable'), command: ['/bin/sh', '-c', 'sleep 1; exec node /app/main.mjs'] });
  const audited = holder.digest;
  stage.fact('report:stable, when submitted', short(audited), audited === images.digest(acme, 'report:v1'));
  await images.tag(acme, 'report', 'stable', 'v2');
  const moved = await acme.run({ image: acme.image('report:stable') });
  stage.fact('report:stable, moved', short(moved.digest), moved.digest === images.digest(acme, 'report:v2') && moved.digest !== audited);
  stage.fact('a run of the tag now says', `version ${parse(moved.output).version}`, parse(moved.output).version === 'v2');
  const held = await acme.ended(holder.id);
  const heldVersion = parse(await acme.logs(holder.id)).version;
  stage.fact(
    'the run submitted before says',
    `version ${heldVersion}, ${short(held.digest)}`,
    heldVersion === 'v1' && held.digest === audited,
  );
  const pinned = await acme.run({ image: `${acme.image('report')}@${audited}` });
  stage.fact(
    'a run that names the digest says',
    `version ${parse(pinned.output).version}`,
    parse(pinned.output).version === 'v1' && pinned.digest === audited,
  );
}

/** The edge of a quota, and the wall between tenants. */
async function refusals(stage, { acme, globex }) {
  stage.heading('Refusals: globex may hold two runs at once');
  const request = {
    image: globex.image('exits:v1'),
    command: ['/bin/sleep', '30'],
    onQuota: 'reject',
    resources: { cpuMillis: 100, memoryBytes: 32 * MiB },
  };
  const held = [await globex.submit(request), await globex.submit(request)];
  const third = await globex.refusal(() => globex.submit(request));
  stage.fact('the third is answered', third?.status ?? 'accepted', third?.status === 429 && third.problem.code === 'overQuota');
  if (third) stage.quote(JSON.stringify(third.problem, null, 2));
  stage.fact(
    'dimension, limit, used, requested',
    ['dimension', 'limit', 'used', 'requested'].map((name) => third?.problem[name]).join(', '),
    third?.problem.dimension === 'concurrentRuns' && third.problem.limit === 2 && third.problem.used === 2,
  );
  const huge = await globex.refusal(() => globex.submit({ ...request, resources: { cpuMillis: 100, memoryBytes: 2 ** 44 } }));
  stage.fact(
    'one that can never fit',
    `${huge?.status} ${huge?.problem.code}`,
    huge?.status === 403 && huge.problem.code === 'quotaNeverFits',
  );
  const foreign = await acme.refusal(() => acme.api.get(`/v1/runs/${held[0].id}`));
  stage.fact("acme asks for globex's run", `${foreign?.status} ${foreign?.problem.code}`, foreign?.status === 404);
  const stolen = await acme.refusal(() => acme.submit({ image: globex.image('exits:v1') }));
  stage.fact(
    "acme asks to run globex's image",
    `${stolen?.status} ${stolen?.problem.code}`,
    stolen !== null && /^image/.test(stolen.problem.code),
  );
  for (const { id } of held) await globex.api.post(`/v1/runs/${id}/cancel`);
  const ended = await Promise.all(held.map(({ id }) => globex.ended(id)));
  stage.fact(
    'the two that held it, canceled',
    ended.map(({ state }) => state).join(', '),
    ended.every(({ state }) => state === 'canceled'),
  );
}

/** Submission to exit, as a client sees it, one run after the other. */
async function latency(stage, { acme }) {
  const runs = 20;
  stage.heading(`Speed: ${runs} warm runs of /bin/true, one after the other`);
  const request = { image: acme.image('report:v1'), command: ['/bin/true'], resources: { cpuMillis: 100, memoryBytes: 32 * MiB } };
  await acme.run(request);
  const samples = [];
  let wellEnded = 0;
  for (let index = 0; index < runs; index += 1) {
    const start = performance.now();
    const run = await acme.ended((await acme.submit(request)).id);
    samples.push(performance.now() - start);
    wellEnded += run.exitCode === 0 ? 1 : 0;
  }
  stage.fact('ended well', `${wellEnded} of ${runs}`, wellEnded === runs);
  stage.fact('submit to exit, p50', milliseconds(percentile(samples, 0.5)));
  stage.fact('fastest, p90, slowest', [0, 0.9, 1].map((share) => milliseconds(percentile(samples, share))).join(', '));
}

const short = (digest) => `${digest.slice(0, 19)}...`;

function parse(output) {
  try {
    return JSON.parse(output);
  } catch {
    return {};
  }
}
