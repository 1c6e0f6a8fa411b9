/*
 * What a node may offer beyond the ordinary. A run needs some of it by what it asks for, a tenant is allowed some of it by its operator, and a
 * node says which of it works there; a run goes only to a node that offers all it needs.
 */

/** The OCI runtimes that a run may ask for; `berth` is Berth's own, and everywhere. */
export const runtimeClasses = ['berth', 'runc', 'crun', 'runsc'] as const;
export type RuntimeClass = (typeof runtimeClasses)[number];

/** `none`: loopback alone. `egress`: it may reach out, and nothing reaches in. */
export const networks = ['none', 'egress'] as const;
export type Network = (typeof networks)[number];

/** Each names what it is and which: `KIND:NAME`. */
export const features = ['runtime:runc', 'runtime:crun', 'runtime:runsc', 'network:egress'] as const;
export type Feature = (typeof features)[number];

/** What a run needs of its node, by what it asks for. */
export function neededFeatures(spec: { readonly runtimeClass: RuntimeClass; readonly network: Network }): readonly Feature[] {
  const needed: Feature[] = [];
  if (spec.runtimeClass !== 'berth') needed.push(`runtime:${spec.runtimeClass}`);
  if (spec.network === 'egress') needed.push('network:egress');
  return needed;
}

/** The member of a request by which it asks for a feature. */
export function fieldOfFeature(feature: Feature): 'runtimeClass' | 'network' {
  return fields[feature.slice(0, feature.indexOf(':')) as keyof typeof fields];
}

const fields = { runtime: 'runtimeClass', network: 'network' } as const;
