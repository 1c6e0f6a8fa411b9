/**
 * The secret that an Authorization header carries: the password of Basic (RFC 7617; any user name), or the token of Bearer (RFC 6750).
 * null when there is no header, or none that can be read.
 */
export function presentedSecret(header: string | undefined): string | null {
  const match = /^(basic|bearer) +([A-Za-z0-9+/=._~-]+) *$/i.exec(header ?? '');
  if (match === null) return null;
  const [, scheme = '', value = ''] = match;
  if (scheme.toLowerCase() === 'bearer') return value;
  const pair = Buffer.from(value, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  return colon < 0 ? null : pair.slice(colon + 1);
}
