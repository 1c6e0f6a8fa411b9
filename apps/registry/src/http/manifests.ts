import { digestOf } from '@berth/core';
import type { FastifyReply } from 'fastify';
import { RegistryError } from '../errors.js';
import { type Manifest, parseManifest } from '../manifest/parse-manifest.js';
import { isValidTag, type ManifestReference, type RepositoryName, type Tag } from '../names.js';
import { type Exchange, readBody } from './exchange.js';

/** What the specification asks registries to take at least; more is no manifest. */
export const maxManifestBytes = 4 * 1024 * 1024;
const maxTagsPerPush = 100;

const manifestUnknown = (): RegistryError => new RegistryError('MANIFEST_UNKNOWN', 'the repository does not hold this manifest');

/** GET and HEAD of a manifest, exactly the bytes that were pushed. */
export async function readManifest(
  { stores, request, reply }: Exchange,
  repository: RepositoryName,
  reference: ManifestReference,
): Promise<FastifyReply> {
  const found = await stores.repositories.findManifest(repository, reference);
  if (found === null) {
    if (!(await stores.repositories.exists(repository))) throw repositoryUnknown();
    throw manifestUnknown();
  }
  const { digest, record } = found;
  const etag = `"${digest}"`;
  reply.headers({ 'docker-content-digest': digest, etag, 'content-type': record.mediaType });
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  reply.header('content-length', record.sizeBytes);
  if (request.method === 'HEAD') return reply.send();

  const opened = await stores.content.open(digest);
  if (opened === null) throw manifestUnknown();
  try {
    return reply.send(await opened.file.readFile());
  } finally {
    await opened.file.close();
  }
}

/** PUT by tag, or by digest with any number of `tag` parameters. */
export async function writeManifest(
  { stores, request, query, reply, reconfirm }: Exchange,
  repository: RepositoryName,
  reference: ManifestReference,
): Promise<FastifyReply> {
  const tags = tagsOf(reference, query.getAll('tag'));
  const bytes = await readBody(request.raw, maxManifestBytes);
  const received = digestOf(bytes);
  if (reference.kind === 'digest' && reference.digest !== received)
    throw new RegistryError('DIGEST_INVALID', 'the bytes received have another digest', {
      detail: { expected: reference.digest, received },
    });
  await reconfirm();
  const manifest = parsePushed(bytes, request.headers['content-type']);
  const digest = await stores.repositories.putManifest(repository, manifest, bytes, tags);

  if (manifest.subject !== null) reply.header('oci-subject', manifest.subject.digest);
  if (reference.kind === 'digest' && tags.length > 0) reply.header('oci-tag', tags.join(', '));
  return reply
    .code(201)
    .headers({ location: `/v2/${repository}/manifests/${digest}`, 'docker-content-digest': digest })
    .send();
}

/** DELETE of a tag, or by digest of the manifest with all its tags. */
export async function deleteManifest(
  { stores, reply }: Exchange,
  repository: RepositoryName,
  reference: ManifestReference,
): Promise<FastifyReply> {
  if (reference.kind === 'tag') {
    if (!(await stores.repositories.deleteTag(repository, reference.tag))) throw manifestUnknown();
    return reply.code(202).send();
  }
  const outcome = await stores.repositories.deleteManifest(repository, reference.digest);
  if (outcome === 'unknown') throw manifestUnknown();
  if (outcome === 'inUse') throw new RegistryError('UNSUPPORTED', 'an index of this repository names the manifest: delete the index first');
  return reply.code(202).send();
}

/** What a repository that does not exist answers, and one that the caller may not know of. */
export function repositoryUnknown(): RegistryError {
  return new RegistryError('NAME_UNKNOWN', 'there is no such repository');
}

function tagsOf(reference: ManifestReference, parameters: readonly string[]): Tag[] {
  if (reference.kind === 'tag') return [reference.tag];
  if (parameters.length > maxTagsPerPush)
    throw new RegistryError('TAG_INVALID', `at most ${maxTagsPerPush} tags at a time`, { status: 414 });
  return parameters.map((tag) => {
    if (!isValidTag(tag)) throw new RegistryError('TAG_INVALID', 'a tag must be at most 128 letters, digits and . _ -');
    return tag;
  });
}

function parsePushed(bytes: Buffer, contentType: string | undefined): Manifest {
  try {
    return parseManifest(bytes, contentType);
  } catch (error) {
    if (error instanceof RangeError) throw new RegistryError('MANIFEST_INVALID', error.message);
    throw error;
  }
}
