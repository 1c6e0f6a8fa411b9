import { type Digest, isValidDigest } from '@berth/core';

/*
 * Names within the registry (OCI distribution-spec 1.1, "Pulling manifests"). Berth's repositories are TENANT/NAME[/NAME...]:
 *
 *   repository = component 1*( "/" component )           at most 240 characters, so that registry.berth/NAME stays within clients' 255
 *   component  = alphanumeric *( separator alphanumeric ) lower case
 *   separator  = "." / "_" / "__" / *"-"
 *   tag        = word character *127( word character / "." / "-" )
 *
 * Neither grammar admits "..", a leading "." or "_", or an empty component: a valid name is a safe relative path and never collides with
 * the storage's own entries, which start with "_".
 */

/** A repository's name as `tenant/name`. */
export type RepositoryName = string & { readonly __brand: 'RepositoryName' };
export type Tag = string & { readonly __brand: 'Tag' };
/** What names a manifest within a repository. */
export type ManifestReference = { readonly kind: 'tag'; readonly tag: Tag } | { readonly kind: 'digest'; readonly digest: Digest };

const maxRepositoryLength = 240;
const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const repositoryGrammar = new RegExp(`^${component}(?:/${component})+$`);
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

export function isValidRepositoryName(text: string): text is RepositoryName {
  return text.length <= maxRepositoryLength && repositoryGrammar.test(text);
}

export function isValidTag(text: string): text is Tag {
  return tagGrammar.test(text);
}

/** A digest or a tag; null for what is neither. */
export function parseManifestReference(text: string): ManifestReference | null {
  if (isValidDigest(text)) return { kind: 'digest', digest: text };
  return isValidTag(text) ? { kind: 'tag', tag: text } : null;
}

/** The tenant under whose name a repository stands. */
export function tenantOf(repository: RepositoryName): string {
  return repository.slice(0, repository.indexOf('/'));
}
