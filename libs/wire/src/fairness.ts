import { z } from 'zod';

/** A tenant's part of the fleet now. Shares are of what all ready nodes offer, in the dimension of which the tenant holds most. */
export const fairness = z.object({
  weight: z.int().describe("The tenant's part beside the others'"),
  owedShare: z.number().describe('By its weight among those that have work now; 0 without work'),
  receivedShare: z.number().describe('What its runs hold on nodes'),
  awaitingRuns: z.int().describe('Runs that hold quota and await a node'),
  worstWaitMs: z.number().describe('For how long the first of these has waited'),
});
export type Fairness = z.infer<typeof fairness>;
