import { askFleet, type FleetAnswer, quotaShortages, type RefusalReason } from './explain.js';
import type { Fleet } from './place.js';
import {
  addAmounts,
  amountOf,
  checkQuota,
  describeShortage,
  noAmount,
  type QuotaAmount,
  type QuotaDimension,
  type Shortage,
} from './quota.js';

/** One that holds its tenant's quota now. */
export interface QuotaHolder {
  readonly amount: QuotaAmount;
  /** null: it has not started. */
  readonly startedAt: Date | null;
  /** How long its attempt may run. */
  readonly timeoutMs: number;
}

/** What an explanation is made of, as of one moment; of other tenants nothing but what nodes have free. */
export interface ExplanationView {
  readonly state: string;
  /** It holds its tenant's quota. */
  readonly reserved: boolean;
  readonly amount: QuotaAmount;
  readonly needs: readonly string[];
  readonly limit: QuotaAmount;
  readonly used: QuotaAmount;
  /** What its tenant's runs before it ask for, those that wait for the same as it does, the first ones first. */
  readonly ahead: readonly QuotaAmount[];
  /** How many of the tenant's runs wait for the same, this one included. */
  readonly lineLength: number;
  readonly holders: readonly QuotaHolder[];
  /** For how long the tenant's latest runs ran, the middle one of them; null before any has ended. */
  readonly typicalMs: number | null;
  readonly fleet: Fleet;
}

/** Why a run has not started, and what has to happen until it does. */
export interface Explanation {
  /** `quota`: it holds no reservation yet; `capacity`: it awaits a node. */
  readonly waitingFor: 'quota' | 'capacity' | null;
  readonly reason: string;
  /** Its place among the tenant's own runs that wait for the same; 1 is next. */
  readonly line: { readonly place: number; readonly length: number } | null;
  /** Of every dimension that is short; `used` includes the runs before it. */
  readonly shortages: readonly Shortage[];
  readonly nodes: FleetAnswer | null;
  /** What would help, each by itself, in words. */
  readonly remedies: readonly string[];
  /** By how long the tenant's runs took lately; null where nothing tells it. */
  readonly estimatedStartAt: Date | null;
}

const given = (more: Partial<Explanation> & Pick<Explanation, 'reason'>): Explanation => ({
  waitingFor: null,
  line: null,
  shortages: [],
  nodes: null,
  remedies: [],
  estimatedStartAt: null,
  ...more,
});

const active: Readonly<Record<string, string>> = {
  placed: 'it has a node, which has not begun yet',
  preparing: 'its node pulls the image and sets the container up',
  running: 'it runs',
  stopping: 'it is being stopped',
};

/** Explains where a run stands at `now`. */
export function explainRun(view: ExplanationView, now: Date): Explanation {
  if (view.state !== 'queued') return given({ reason: active[view.state] ?? `it has ended: ${view.state}` });
  const line = { place: view.ahead.length + 1, length: view.lineLength };
  return view.reserved ? explainCapacity(view, line, now) : explainQuota(view, line, now);
}

const nodesByReason: Readonly<Record<RefusalReason, string>> = {
  notReady: 'not ready',
  featureMissing: 'without what it needs',
  cpuTooSmall: 'with too little cpu even when empty',
  memoryTooSmall: 'with too little memory even when empty',
  diskTooSmall: 'with too little disk even when empty',
  cpuShort: 'short of free cpu',
  memoryShort: 'short of free memory',
  diskShort: 'short of free disk',
};
const freesItself: readonly RefusalReason[] = ['cpuShort', 'memoryShort', 'diskShort'];

function explainCapacity(view: ExplanationView, line: Explanation['line'], now: Date): Explanation {
  const { cpuMillis, memoryBytes, diskBytes } = view.amount;
  const nodes = askFleet(view.fleet, { cpuMillis, memoryBytes, diskBytes, needs: view.needs });
  const known = { waitingFor: 'capacity', line, nodes } as const;
  if (nodes.fitting > 0)
    return given({
      ...known,
      reason: 'a node has room: it is placed when it is its turn',
      estimatedStartAt: line?.place === 1 ? now : null,
    });
  if (nodes.refusals.length === 0) return given({ ...known, reason: 'there is no node', remedies: ['a node joins'] });
  const refusals = nodes.refusals.map(({ reason, nodes: count }) => `${count} ${nodesByReason[reason]}`).join(', ');
  const has = (reasons: readonly RefusalReason[]) => nodes.refusals.some(({ reason }) => reasons.includes(reason));
  const remedies = ['a node with room for it joins'];
  if (has(freesItself)) remedies.unshift('runs on the nodes that are merely full end');
  else if (has(['cpuTooSmall', 'memoryTooSmall', 'diskTooSmall'])) remedies.unshift('it is submitted again with less cpu, memory or disk');
  if (has(['notReady'])) remedies.push('a node that is not ready comes back');
  return given({ ...known, reason: `no node has room for it: ${refusals}`, remedies });
}

const releasedAtEnd: readonly QuotaDimension[] = ['concurrentRuns', 'cpuMillis', 'memoryBytes', 'diskBytes', 'pids'];

function explainQuota(view: ExplanationView, line: Explanation['line'], now: Date): Explanation {
  const { limit, used, amount } = view;
  const never = checkQuota(limit, noAmount, amount);
  const shortages = quotaShortages(limit, used, view.ahead.reduce(addAmounts, noAmount), amount);
  const known = { waitingFor: 'quota', line, shortages } as const;
  if (never.kind === 'neverFits') {
    const tooMuch = shortages.filter(({ dimension }) => amount[dimension] > limit[dimension]);
    const remedies = tooMuch.map(
      (short) => `it is submitted again with at most ${short.limit} ${short.dimension}, or that quota is raised`,
    );
    return given({ ...known, reason: `it can never be admitted: ${describeShortage(never)}`, remedies });
  }
  const estimatedStartAt = estimateStart(view, now);
  const [first] = shortages;
  if (first === undefined) return given({ ...known, reason: 'there is quota for it: it is admitted in a moment', estimatedStartAt });
  return given({
    ...known,
    reason: `waits for quota: ${describeShortage(first)}`,
    remedies: remediesOf(shortages, view.ahead.length),
    estimatedStartAt,
  });
}

function remediesOf(shortages: readonly Shortage[], ahead: number): string[] {
  const remedies: string[] = [];
  const short = (dimensions: (dimension: QuotaDimension) => boolean) =>
    shortages
      .map(({ dimension }) => dimension)
      .filter(dimensions)
      .join(', ');
  const held = short((dimension) => releasedAtEnd.includes(dimension));
  const monthly = short((dimension) => dimension.startsWith('monthly'));
  if (held !== '') remedies.push(`runs of yours that hold ${held} end`);
  if (short((dimension) => dimension === 'logBytes') !== '') remedies.push('runs of yours that have ended are deleted with their logs');
  if (monthly !== '') remedies.push(`the next month (UTC) begins, with a new budget of ${monthly}`);
  if (ahead > 0) remedies.push(`the ${ahead} of yours before it in the line are admitted or canceled`);
  return remedies;
}

const firstEnd = (a: Ending, b: Ending): number => a.atMs - b.atMs;
interface Ending {
  readonly atMs: number;
  readonly amount: QuotaAmount;
}

/**
 * When quota is there for the run if the tenant's own runs each take as long as its latest did, and no longer than they may: those that hold quota end one
 * after the other, and whoever is next in the line is admitted as soon as it fits. null when that never comes to pass, or no run has ended yet to go by.
 */
export function estimateStart(
  view: Omit<ExplanationView, 'fleet' | 'needs' | 'state' | 'reserved' | 'lineLength'>,
  now: Date,
): Date | null {
  const { typicalMs, limit, amount } = view;
  if (typicalMs === null) return null;
  let { used } = view;
  let atMs = now.getTime();
  const endings: Ending[] = view.holders.map((holder) => ({
    atMs: Math.max(atMs, (holder.startedAt?.getTime() ?? atMs) + Math.min(typicalMs, holder.timeoutMs)),
    amount: holder.amount,
  }));
  endings.sort(firstEnd);
  const line = [...view.ahead, amount];
  for (let next = 0; ; ) {
    const candidate = line[next] ?? amount;
    const fits = checkQuota(limit, used, candidate).kind === 'fits';
    if (fits && next === line.length - 1) return new Date(atMs);
    if (fits) {
      used = addAmounts(used, candidate);
      endings.push({ atMs: atMs + typicalMs, amount: candidate });
      endings.sort(firstEnd);
      next++;
      continue;
    }
    const ending = endings.shift();
    if (ending === undefined) return null;
    atMs = ending.atMs;
    const before = used;
    used = amountOf((dimension) => before[dimension] - (releasedAtEnd.includes(dimension) ? ending.amount[dimension] : 0));
  }
}
