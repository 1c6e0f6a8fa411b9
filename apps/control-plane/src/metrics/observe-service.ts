import { NodeStore, RunStore } from '@berth/store';
import { type Fairness, runStates } from '@berth/wire';
import type { INestApplicationContext } from '@nestjs/common';
import { NodeLinks } from '../fleet/node-links.js';
import { OpenStreams } from '../http/open-streams.js';
import { WakeUps } from '../queue/wake-ups.js';
import { ReadFairness } from '../scheduler/read-fairness.js';
import { Metrics, type Observation } from './metrics.js';

/**
 * Gauges read at each scrape. Those of runs and nodes come from the store, so every replica shows the same: aggregate them with `max`. The others
 * are of this replica: aggregate them with `sum`.
 */
export function observeService(app: INestApplicationContext): void {
  const metrics = app.get(Metrics);
  const runs = app.get(RunStore);
  const nodes = app.get(NodeStore);

  metrics.observe('berth_runs', 'Runs by state', ['state'], async () => {
    const counts = await runs.countByState();
    return runStates.map((state) => ({ labels: { state }, value: counts[state] ?? 0 }));
  });
  metrics.observe('berth_nodes', 'Nodes by state', ['state'], async () => {
    const list = await nodes.list();
    return ['ready', 'lost', 'draining', 'dead'].map((state) => ({
      labels: { state },
      value: list.filter((node) => node.state === state).length,
    }));
  });
  const perResource = async (read: (node: Awaited<ReturnType<typeof nodes.list>>[number]) => [number, number]): Promise<Observation[]> =>
    (await nodes.list()).flatMap((node) => {
      if (node.state === 'dead') return [];
      const [cpuMillis, memoryBytes] = read(node);
      return [
        { labels: { node: node.id, resource: 'cpu_millis' }, value: cpuMillis },
        { labels: { node: node.id, resource: 'memory_bytes' }, value: memoryBytes },
      ];
    });
  metrics.observe('berth_node_capacity', 'What nodes offer', ['node', 'resource'], () =>
    perResource((node) => [node.cpuMillis, node.memoryBytes]),
  );
  metrics.observe('berth_node_reserved', 'What runs have reserved on nodes', ['node', 'resource'], () =>
    perResource((node) => [node.reserved.cpuMillis, node.reserved.memoryBytes]),
  );
  metrics.observe('berth_tenants_awaiting', 'Tenants with runs that hold quota and await a node', [], async () => [
    { value: (await awaitingTenants(app)).length },
  ]);
  metrics.observe('berth_fairness_worst_wait_seconds', 'The longest wait of a run that holds quota for a node', [], async () => [
    { value: Math.max(0, ...(await awaitingTenants(app)).map(({ worstWaitMs }) => worstWaitMs)) / 1000 },
  ]);
  metrics.observe('berth_fairness_worst_ratio', 'The least of received to owed share, of the tenants that await a node', [], async () => {
    const ratios = (await awaitingTenants(app)).map(({ receivedShare, owedShare }) => receivedShare / owedShare);
    return ratios.length === 0 ? [] : [{ value: Math.min(...ratios) }];
  });
  metrics.observe('berth_queue_depth', 'Wake-ups in the queue', [], async () => {
    const depth = await app.get(WakeUps).depth();
    return depth === null ? [] : [{ value: depth }];
  });
  metrics.observe('berth_agent_links', 'Nodes connected to this replica', [], () => [{ value: app.get(NodeLinks).count }]);
  metrics.observe('berth_open_streams', 'Waits and streams open on this replica', [], () => [{ value: app.get(OpenStreams).count }]);
}

async function awaitingTenants(app: INestApplicationContext): Promise<Fairness[]> {
  const all = await app.get(ReadFairness).ofAll();
  return all.map(({ fairness }) => fairness).filter(({ awaitingRuns }) => awaitingRuns > 0);
}
