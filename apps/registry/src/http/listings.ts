import type { Digest } from '@berth/core';
import type { FastifyReply } from 'fastify';
import type { Caller } from '../access/caller.js';
import { RegistryError } from '../errors.js';
import type { RepositoryName } from '../names.js';
import type { ManifestRecord, StoredImage } from '../storage/repository-store.js';
import type { Exchange } from './exchange.js';
import { repositoryUnknown } from './manifests.js';
import { type Page, paginate } from './page.js';

const nameLimits = { items: 1000 };
const imageLimits = { items: 1000, weight: { max: 3 * 1024 * 1024, of: (image: StoredImage) => JSON.stringify(image).length } };
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
  const repositories = await stores.repositories.list(namespaceOf(caller));
  const page = paginate(repositories, (repository) => repository, query, nameLimits);
  return linked(reply, '/v2/_catalog', page).send({ repositories: page.items });
}

/**
 * Berth's own extension: every manifest of the caller's namespace, tagged or not, with its blobs and their lengths, in the order of `REPOSITORY@DIGEST`. The
 * first blob of an image is its configuration.
 */
export async function listImages({ stores, caller, query, reply }: Exchange): Promise<FastifyReply> {
  const found: StoredImage[] = [];
  for (const repository of await stores.repositories.list(namespaceOf(caller)))
    found.push(...(await stores.repositories.images(repository)));
  const keyOf = ({ repository, digest }: StoredImage): string => `${repository}@${digest}`;
  found.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const page = paginate(found, keyOf, query, imageLimits);
  return linked(reply, '/v2/_berth/images', page).send({ images: page.items });
}

/** The tenant whose namespace a caller may list; null: all of them. */
function namespaceOf(caller: Caller): string | null {
  if (caller.kind === 'admin') return null;
  if (caller.tenant === null) throw new RegistryError('DENIED', 'a token of single repositories may list none');
  return caller.tenant;
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
