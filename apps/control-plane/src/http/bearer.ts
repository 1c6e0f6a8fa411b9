/** The credential of an `Authorization: Bearer` header; the scheme is case-insensitive (RFC 9110, 11.1). */
export function bearer(authorization: string | undefined): string | null {
  return /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? null;
}
