import { join } from 'node:path';
import type { Digest } from '@berth/core';
import type { RepositoryName, Tag } from '../names.js';

/*
 * The registry's directory. Content lies once for all tenants under its digest; what a repository may show of it are links.
 *
 *   blobs/sha256/ab/abcd...                                  content: blobs and manifests
 *   repositories/TENANT/NAME/_blobs/sha256/abcd...           link: this repository holds that blob (empty)
 *   repositories/TENANT/NAME/_manifests/sha256/abcd...       link: this repository holds that manifest (a ManifestRecord)
 *   repositories/TENANT/NAME/_referrers/sha256/SUBJECT/abcd  link: that manifest names SUBJECT as its subject (empty)
 *   repositories/TENANT/NAME/_tags/latest                    the digest that a tag points to
 *   uploads/ID/session.json, uploads/ID/bytes                an upload that has not been committed
 *   scratch/                                                 files on their way to a rename; emptied at start
 *
 * Only checked names get here: the parameter types are branded, so no path can leave the directory.
 */
export class Layout {
  constructor(readonly root: string) {}

  get blobs(): string {
    return join(this.root, 'blobs', 'sha256');
  }
  get repositories(): string {
    return join(this.root, 'repositories');
  }
  get uploads(): string {
    return join(this.root, 'uploads');
  }
  get scratch(): string {
    return join(this.root, 'scratch');
  }

  content(digest: Digest): string {
    return join(this.blobs, hex(digest).slice(0, 2), hex(digest));
  }
  upload(id: string): string {
    return join(this.uploads, id);
  }
  blobLinks(repository: RepositoryName): string {
    return join(this.repositories, repository, '_blobs', 'sha256');
  }
  blobLink(repository: RepositoryName, digest: Digest): string {
    return join(this.blobLinks(repository), hex(digest));
  }
  manifests(repository: RepositoryName): string {
    return join(this.repositories, repository, '_manifests', 'sha256');
  }
  manifest(repository: RepositoryName, digest: Digest): string {
    return join(this.manifests(repository), hex(digest));
  }
  referrers(repository: RepositoryName, subject: Digest): string {
    return join(this.repositories, repository, '_referrers', 'sha256', hex(subject));
  }
  referrer(repository: RepositoryName, subject: Digest, digest: Digest): string {
    return join(this.referrers(repository, subject), hex(digest));
  }
  tags(repository: RepositoryName): string {
    return join(this.repositories, repository, '_tags');
  }
  tag(repository: RepositoryName, tag: Tag): string {
    return join(this.tags(repository), tag);
  }
}

function hex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
