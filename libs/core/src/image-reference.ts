import { type Digest, parseDigest } from './digest.js';

/*
 * Names of images, in the grammar of the distribution project (github.com/distribution/reference):
 *
 *   reference       = name [ ":" tag ] [ "@" digest ]
 *   name            = [ domain "/" ] path-component *( "/" path-component )          at most 255 characters
 *   domain          = host [ ":" port ]
 *   host            = domain-name / IPv4 address / "[" IPv6 address "]"
 *   path-component  = alphanumeric *( separator alphanumeric )                        lower case
 *   separator       = "." / "_" / "__" / *"-"
 *   tag             = word character *127( word character / "." / "-" )
 *
 * As in Docker, the first component is a domain only if it holds "." or ":", is "localhost", or has an upper-case letter; without one the
 * registry is docker.io, and a name of one component there stands for library/NAME.
 * `registry.berth/TENANT/NAME` names an image in the embedded registry, wherever that listens.
 */

/** The host under which references name the embedded registry. */
export const embeddedRegistry = 'registry.berth';

export interface ImageReference {
  /** Host and optional port, e.g. `docker.io`, `localhost:5000`. */
  readonly registry: string;
  /** Path without leading slash, e.g. `library/alpine`. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

const maxNameLength = 255;
const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainGrammar = new RegExp(`^(?:${domainComponent}(?:\\.${domainComponent})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]{1,5})?$`);
const pathComponentGrammar = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagGrammar = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** Reads a reference and fills in Docker's defaults for registry and namespace; tag and digest stay absent when not written. Throws a RangeError that names the bad part. */
export function parseImageReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : parseDigest(text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);

  const lastSlash = named.lastIndexOf('/');
  const colon = named.indexOf(':', lastSlash + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (tag !== undefined && !tagGrammar.test(tag)) throw new RangeError(`the tag of an image must match ${tagGrammar.source}`);
  const name = colon < 0 ? named : named.slice(0, colon);

  if (name.length === 0) throw new RangeError('an image reference must have a name');
  if (name.length > maxNameLength) throw new RangeError(`the name of an image must have at most ${maxNameLength} characters`);
  return { ...splitName(name), ...(tag === undefined ? {} : { tag }), ...(digest === undefined ? {} : { digest }) };
}

/** Throws as `parseImageReference` does, unless `text` is an image reference. */
export function ensureValidImageReference(text: string): void {
  parseImageReference(text);
}

export function isValidImageReference(text: string): boolean {
  try {
    parseImageReference(text);
    return true;
  } catch {
    return false;
  }
}

/** `registry/repository[:tag][@digest]`, every default written out; parsing it gives the same reference. */
export function formatImageReference(reference: ImageReference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.registry}/${reference.repository}${tag}${digest}`;
}

/** What a registry is asked for: the digest where there is one (it beats a tag, as in Docker), else the tag, else `latest`. */
export function manifestReference(reference: ImageReference): string {
  return reference.digest ?? reference.tag ?? 'latest';
}

function splitName(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = slash >= 0 && (/[.:[]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const registry = isDomain ? normalizeDomain(first) : 'docker.io';
  const path = isDomain ? name.slice(slash + 1) : name;

  if (!domainGrammar.test(registry) || Number(/:([0-9]+)$/.exec(registry)?.[1] ?? 0) > 65_535) {
    throw new RangeError('the registry of an image must be a host name or address with an optional port');
  }
  for (const component of path.split('/')) {
    if (!pathComponentGrammar.test(component)) {
      throw new RangeError(
        'the path of an image must be lower-case letters and digits, parted by ".", "_", "__" or "-", in components parted by "/"',
      );
    }
  }
  const repository = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  if (`${registry}/${repository}`.length > maxNameLength)
    throw new RangeError(`the name of an image must have at most ${maxNameLength} characters`);
  return { registry, repository };
}

function normalizeDomain(domain: string): string {
  return domain === 'index.docker.io' ? 'docker.io' : domain;
}
