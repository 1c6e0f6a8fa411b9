import { AppError, type IdPrefix, isValidId } from '@berth/core';
import { type ArgumentMetadata, type PipeTransform, StandardSchemaValidationPipe } from '@nestjs/common';
import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** Checks bodies and queries against the zod schema that their parameter decorator names; a refusal names each bad field and the fix. */
export class RequestValidationPipe extends StandardSchemaValidationPipe {
  constructor() {
    super({ exceptionFactory: (issues) => refusal(issues as readonly Issue[]) });
  }

  override async transform<T>(value: T, metadata: ArgumentMetadata): Promise<T> {
    if (metadata.schema !== undefined && metadata.type === 'body' && value === undefined) {
      throw new AppError('invalidRequest', 'send a JSON body as application/json');
    }
    return super.transform(value, metadata);
  }

  // The schemas build new objects and the body parser refuses __proto__, so nothing needs stripping; a name such as "prototype" is a
  // legitimate environment variable or label and must not vanish.
  protected override stripProtoKeys(): void {}
}

/** The problem that a schema's issues amount to: `unsupportedField` when the request only has fields too many, else `invalidRequest`. */
export function refusal(issues: readonly Issue[]): AppError {
  const errors = issues.flatMap(fieldErrors).slice(0, 50);
  const first = errors[0];
  const code = issues.every((issue) => issue.code === 'unrecognized_keys') ? 'unsupportedField' : 'invalidRequest';
  return new AppError(code, first === undefined ? 'the request does not fit its schema' : `${first.field}: ${first.message}`, { errors });
}

function fieldErrors(issue: Issue): { field: string; message: string }[] {
  const path = issue.path.map(String);
  const at = (parts: readonly string[]) => parts.join('.') || '(body)';
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ field: at([...path, key]), message: 'is not a field here; remove it or check its spelling' }));
  }
  if (issue.code === 'invalid_key' || issue.code === 'invalid_element') {
    return issue.issues.map((inner) => ({ field: at(path), message: `the name ${lowerFirst(inner.message)}` }));
  }
  return [{ field: at(path), message: lowerFirst(issue.message) }];
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

const kinds: Readonly<Record<IdPrefix, string>> = { run: 'run', ten: 'tenant', node: 'node', key: 'key', mem: 'member' };

/** Takes an id from the path. Text that is no id answers as an id that nobody has. */
export class IdPipe implements PipeTransform<string, string> {
  constructor(readonly prefix: IdPrefix) {}

  transform(text: string): string {
    if (!isValidId(this.prefix, text)) throw notFound(this.prefix);
    return text;
  }
}

/** The one answer to ids that are unknown, of another tenant, or no ids at all. */
export function notFound(prefix: IdPrefix): AppError {
  return new AppError('notFound', `there is no ${kinds[prefix]} with this id`);
}
