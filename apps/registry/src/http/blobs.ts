import type { Digest } from '@berth/core';
import type { FastifyReply } from 'fastify';
import { RegistryError } from '../errors.js';
import type { RepositoryName } from '../names.js';
import { parseByteRange } from './byte-range.js';
import type { Exchange } from './exchange.js';

const blobUnknown = (): RegistryError => new RegistryError('BLOB_UNKNOWN', 'the repository does not hold this blob');

/** GET and HEAD of a blob, whole or a range of it. */
export async function readBlob(
  { stores, caller, request, reply }: Exchange,
  repository: RepositoryName,
  digest: Digest,
): Promise<FastifyReply> {
  if ((await stores.repositories.blobSizeBytes(repository, digest)) === null) throw blobUnknown();
  // A client that finds the blob here will not upload it: it must outlive the push that asks.
  if (request.method === 'HEAD' && caller.kind === 'tenant') await stores.repositories.renewBlob(repository, digest);

  const etag = `"${digest}"`;
  reply.headers({
    'docker-content-digest': digest,
    etag,
    'accept-ranges': 'bytes',
    'cache-control': 'private, max-age=31536000, immutable',
  });
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();

  const opened = await stores.content.open(digest);
  if (opened === null) throw blobUnknown();
  const { file, sizeBytes } = opened;
  const ifRange = request.headers['if-range'];
  const range = ifRange === undefined || ifRange === etag ? parseByteRange(request.headers.range, sizeBytes) : 'whole';
  if (range === 'unsatisfiable') {
    await file.close();
    throw new RegistryError('RANGE_INVALID', `the blob has ${sizeBytes} bytes`, { headers: { 'content-range': `bytes */${sizeBytes}` } });
  }
  const { first, last } = range === 'whole' ? { first: 0, last: sizeBytes - 1 } : range;
  reply.headers({ 'content-type': 'application/octet-stream', 'content-length': last - first + 1 });
  if (range !== 'whole') reply.code(206).header('content-range', `bytes ${first}-${last}/${sizeBytes}`);
  if (request.method === 'HEAD' || last < first) {
    await file.close();
    return reply.send();
  }
  return reply.send(file.createReadStream({ start: first, end: last, highWaterMark: 256 * 1024 }));
}

export async function deleteBlob({ stores, reply }: Exchange, repository: RepositoryName, digest: Digest): Promise<FastifyReply> {
  const outcome = await stores.repositories.deleteBlob(repository, digest);
  if (outcome === 'unknown') throw blobUnknown();
  if (outcome === 'inUse')
    throw new RegistryError('UNSUPPORTED', 'a manifest of this repository names the blob: delete the manifest first');
  return reply.code(202).header('docker-content-digest', digest).send();
}
