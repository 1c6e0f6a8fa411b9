import type { Digest } from '@berth/core';
import type { FastifyReply } from 'fastify';
import { RegistryError } from '../errors.js';
import type { RepositoryName } from '../names.js';
import type { ManifestRecord } from '../storage/repository-store.js';
import type { Exchange } from './exchange.js';
import { repositoryUnknown } from './manifests.js';
import { type Page, paginate } from './page.js';

const nameLimits = { items: 1000 };
// Clients accept an index of 4 MiB.
const referrerLimits = {
  items: 1000,
  weight: { max: 3 * 1024 * 1024, of: (referrer: Referrer) => JSON.stringify(descriptorOf(referrer)).length },
};

interface Referrer {
  readonly digest: Digest;
  readonly record: ManifestRecord;
}

export async function listTags({ stores, query, reply }: Exchange, repository: RepositoryName): Promise<FastifyReply> {
  if (!(await stores.repositories.exists(repository))) throw repositoryUnknown();
  const page = paginate(await stores.repositories.tags(repository), (tag) => tag, query, nameLimits);
  return linked(reply, `/v2/${repository}/tags/list`, page).send({ name: repository, tags: page.items });
}

/** The repositories of the caller's own namespace; the operator sees all. */
export async function listRepositories({ stores, caller, query, reply }: Exchange): Promise<FastifyReply> {
  if (caller.kind === 'token') throw new RegistryError('DENIED', 'a pull token may not list repositories');
  const repositories = await stores.repositories.list(caller.kind === 'tenant' ? caller.tenant : null);
  const page = paginate(repositories, (repository) => repository, query, nameLimits);
  return linked(reply, '/v2/_catalog', page).send({ repositories: page.items });
}

/** The manifests that have `subject` as theirs, as an image index; none is an empty index, not an error. */
export async function listReferrers(
  { stores, query, reply }: Exchange,
  repository: RepositoryName,
  subject: Digest,
): Promise<FastifyReply> {
  const artifactType = query.get('artifactType');
  const all = await stores.repositories.referrers(repository, subject);
  const matching = artifactType === null ? all : all.filter(({ record }) => record.artifactType === artifactType);
  const page = paginate(matching, ({ digest }) => digest, query, referrerLimits);
  if (artifactType !== null) reply.header('oci-filters-applied', 'artifactType');
  const filter = artifactType === null ? '' : `&${new URLSearchParams({ artifactType }).toString()}`;
  return linked(reply, `/v2/${repository}/referrers/${subject}`, page, filter)
    .header('content-type', 'application/vnd.oci.image.index.v1+json')
    .send(
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: 'application/vnd.oci.image.index.v1+json',
          manifests: page.items.map(descriptorOf),
        }),
      ),
    );
}

function linked(reply: FastifyReply, path: string, page: Page<unknown>, filter = ''): FastifyReply {
  return page.next === null ? reply : reply.header('link', `<${path}?${page.next}${filter}>; rel="next"`);
}

function descriptorOf({ digest, record }: Referrer): Record<string, unknown> {
  return {
    mediaType: record.mediaType,
    size: record.sizeBytes,
    digest,
    ...(record.artifactType === null ? {} : { artifactType: record.artifactType }),
    ...(record.annotations === null ? {} : { annotations: record.annotations }),
  };
}
