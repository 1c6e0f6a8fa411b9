import type { Digest } from '@berth/core';
import type { FastifyReply } from 'fastify';
import { permission } from '../access/caller.js';
import { RegistryError } from '../errors.js';
import { isValidRepositoryName, type RepositoryName } from '../names.js';
import { type ChunkClaim, rangeHeader, type Upload } from '../storage/upload-store.js';
import { parseChunkRange } from './byte-range.js';
import { bodyOf, type Exchange } from './exchange.js';
import { parseDigestText } from './route.js';

/** POST: begins an upload, or does it all at once with `digest`, or links a blob of another repository with `mount` and `from`. */
export async function beginUpload(exchange: Exchange, repository: RepositoryName): Promise<FastifyReply> {
  const { stores, request, query, reply } = exchange;
  const mount = query.get('mount');
  if (mount !== null && (await mountBlob(exchange, repository, parseDigestText(mount), query.get('from'))))
    return created(reply, repository, parseDigestText(mount));

  const digestText = query.get('digest');
  if (digestText === null || mount !== null) return accepted(reply, await stores.uploads.begin(repository));

  const digest = parseDigestText(digestText);
  const upload = await stores.uploads.begin(repository);
  try {
    await stores.uploads.append(upload, bodyOf(request.raw), { range: null });
    await commit(exchange, upload, digest);
  } catch (error) {
    // Nobody learned the upload's id, so nobody could go on with it.
    await stores.uploads.cancel(upload).catch(() => undefined);
    throw error;
  }
  return created(reply, repository, digest);
}

/** PATCH: one chunk, or with no Content-Range whatever the body brings. */
export async function appendUpload({ stores, request, reply }: Exchange, repository: RepositoryName, id: string): Promise<FastifyReply> {
  const upload = found(stores.uploads.find(repository, id));
  const offset = await stores.uploads.append(upload, bodyOf(request.raw), claimOf(request.headers, upload));
  return accepted(reply, { ...upload, offset });
}

/** PUT: the last chunk, if any, and the digest of the whole. */
export async function finishUpload(exchange: Exchange, repository: RepositoryName, id: string): Promise<FastifyReply> {
  const { stores, request, query, reply } = exchange;
  const upload = found(stores.uploads.find(repository, id));
  const digest = parseDigestText(query.get('digest') ?? '');
  if (request.headers['content-length'] !== '0') {
    await stores.uploads.append(upload, bodyOf(request.raw), claimOf(request.headers, upload));
  }
  await commit(exchange, upload, digest);
  return created(reply, repository, digest);
}

export async function uploadStatus({ stores, reply }: Exchange, repository: RepositoryName, id: string): Promise<FastifyReply> {
  const upload = found(stores.uploads.find(repository, id));
  return reply.code(204).headers(uploadHeaders(upload)).send();
}

export async function cancelUpload({ stores, reply }: Exchange, repository: RepositoryName, id: string): Promise<FastifyReply> {
  await stores.uploads.cancel(found(stores.uploads.find(repository, id)));
  return reply.code(204).send();
}

async function mountBlob({ stores, caller }: Exchange, repository: RepositoryName, digest: Digest, from: string | null): Promise<boolean> {
  // What the caller may not pull is answered as what does not exist: with an upload to be filled.
  if (from === null || !isValidRepositoryName(from) || permission(caller, 'pull', from) !== 'allowed') return false;
  return stores.repositories.mountBlob(repository, from, digest);
}

async function commit({ stores, metrics, reconfirm }: Exchange, upload: Upload, digest: Digest): Promise<void> {
  // An upload may have taken hours, in which the key may have been revoked.
  await reconfirm();
  metrics.committed(await stores.uploads.commit(upload, digest, (path) => stores.repositories.adoptBlob(upload.repository, path, digest)));
}

function claimOf(headers: NodeJS.Dict<string | string[]>, upload: Upload): ChunkClaim {
  const text = headers['content-range'];
  if (text === undefined) return { range: null };
  const range = typeof text === 'string' ? parseChunkRange(text) : null;
  if (range === null)
    throw new RegistryError('RANGE_INVALID', 'Content-Range must be FIRST-LAST', { headers: { range: rangeHeader(upload.offset) } });
  const length = headers['content-length'];
  if (length !== undefined && Number(length) !== range.last - range.first + 1)
    throw new RegistryError('SIZE_INVALID', 'Content-Length and Content-Range disagree');
  return { range };
}

function found(upload: Upload | null): Upload {
  if (upload === null) throw new RegistryError('BLOB_UPLOAD_UNKNOWN', 'there is no such upload');
  return upload;
}

function uploadHeaders(upload: Upload): Record<string, string> {
  return {
    location: `/v2/${upload.repository}/blobs/uploads/${upload.id}`,
    range: rangeHeader(upload.offset),
    'docker-upload-uuid': upload.id,
  };
}

function accepted(reply: FastifyReply, upload: Upload): FastifyReply {
  return reply.code(202).headers(uploadHeaders(upload)).send();
}

function created(reply: FastifyReply, repository: RepositoryName, digest: Digest): FastifyReply {
  return reply
    .code(201)
    .headers({ location: `/v2/${repository}/blobs/${digest}`, 'docker-content-digest': digest })
    .send();
}
