import { describe, expect, it } from 'vitest';
import { features, fieldOfFeature, neededFeatures, runtimeClasses } from './features.js';

describe('the features of nodes', () => {
  it('are needed by every runtime class but the one that is everywhere', () => {
    expect(runtimeClasses.map((runtimeClass) => neededFeatures({ runtimeClass, network: 'none' }))).toEqual([
      [],
      ['runtime:runc'],
      ['runtime:crun'],
      ['runtime:runsc'],
    ]);
  });

  it('are needed by a network', () => {
    expect(neededFeatures({ runtimeClass: 'runsc', network: 'egress' })).toEqual(['runtime:runsc', 'network:egress']);
  });

  it('are each asked for by a member of the request', () => {
    expect(features.map(fieldOfFeature)).not.toContain(undefined);
  });
});
