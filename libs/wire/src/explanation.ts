import { limitDimensions, refusalReasons } from '@berth/core';
import { z } from 'zod';
import { runId, timestamp } from './primitives.js';
import { runSpec, runState, waitingFor } from './run.js';

/** Why a run has not started. Of other tenants nothing shows: not even how many of their runs wait. */
export const explanation = z.object({
  runId,
  state: runState,
  waitingFor: waitingFor.nullable(),
  reason: z.string().describe('In one sentence, for people'),
  line: z
    .object({ place: z.int().describe('1 is next'), length: z.int() })
    .nullable()
    .describe("Its place among the tenant's own runs that wait for the same"),
  shortages: z
    .array(z.object({ dimension: z.enum(limitDimensions), limit: z.number(), used: z.number(), requested: z.number() }))
    .describe("Every dimension of the tenant's quota that is short; used includes the runs before it in the line"),
  nodes: z
    .object({
      fitting: z.int().describe('With room for it now'),
      refusals: z
        .array(z.object({ reason: z.enum(refusalReasons), nodes: z.int() }))
        .describe('Each node counts once, by its first reason'),
    })
    .nullable(),
  remedies: z.array(z.string()).describe('What would help, each by itself, for people'),
  estimatedStartAt: timestamp.nullable().describe("By how long the tenant's runs took lately; null where nothing tells it"),
});
export type Explanation = z.infer<typeof explanation>;

/** What would become of a run if it were submitted now. */
export const quote = explanation.omit({ runId: true, state: true }).extend({
  image: z.string().describe('As asked for'),
  digest: z.string().describe('What the tag points to now'),
  spec: runSpec,
  cost: z
    .object({ monthlyCpuMs: z.int(), monthlyMemoryMibSeconds: z.int() })
    .describe('Of the monthly budgets, at most: as if every attempt ran until its timeout. What is not used is given back at the end'),
  pull: z
    .object({ bytes: z.int(), layers: z.int() })
    .describe('What a node fetches that has nothing of the image; layers that it has are not fetched again'),
});
export type Quote = z.infer<typeof quote>;
