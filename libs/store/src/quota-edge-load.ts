import { parseArgs } from 'node:util';
import { openStore } from './open-store.js';
import { edgeRounds } from './quota-edge.js';
import { StoreFixture } from './testing.js';
import { installWatchers } from './watchers.js';

/* `npm run edge -- [--rounds 50] [--submissions 500] [--replicas 2]`: one line a round and dimension; exits 1 when a promise was broken. */
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '50' },
    submissions: { type: 'string', default: '500' },
    replicas: { type: 'string', default: '2' },
  },
});

const fixture = await StoreFixture.open();
const others = Array.from({ length: Number(values.replicas) - 1 }, () => openStore({ url: fixture.url, poolSize: 10 }));
try {
  await installWatchers(fixture);
  let broken = 0;
  for await (const round of edgeRounds(fixture, [fixture.store, ...others], Number(values.rounds), Number(values.submissions))) {
    process.stdout.write(`${JSON.stringify(round)}\n`);
    broken += round.faults.length;
  }
  process.stdout.write(broken === 0 ? 'nothing exceeded, nothing lost\n' : `${broken} promises broken\n`);
  process.exitCode = broken === 0 ? 0 : 1;
} finally {
  await Promise.all(others.map((store) => store.close()));
  await fixture.close();
}
