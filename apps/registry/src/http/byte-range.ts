/** Part of a file: both ends inclusive, as in HTTP. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * The part of `sizeBytes` bytes that a Range header asks for (RFC 9110, section 14). `whole`: no header, or one that a server may ignore
 * (another unit, several ranges, nonsense). `unsatisfiable`: it begins behind the end.
 */
export function parseByteRange(header: string | undefined, sizeBytes: number): ByteRange | 'whole' | 'unsatisfiable' {
  const match = /^bytes=([0-9]*)-([0-9]*)$/.exec(header?.trim() ?? '');
  if (match === null) return 'whole';
  const [, firstText = '', lastText = ''] = match;
  if (firstText === '') {
    if (lastText === '') return 'whole';
    const length = Math.min(Number(lastText), sizeBytes);
    return length === 0 ? 'unsatisfiable' : { first: sizeBytes - length, last: sizeBytes - 1 };
  }
  const first = Number(firstText);
  const last = lastText === '' ? sizeBytes - 1 : Math.min(Number(lastText), sizeBytes - 1);
  if (lastText !== '' && Number(lastText) < first) return 'whole';
  return first >= sizeBytes ? 'unsatisfiable' : { first, last };
}

/** The range of an upload's chunk, `FIRST-LAST` (OCI distribution-spec); null for any other text. */
export function parseChunkRange(header: string): ByteRange | null {
  const match = /^([0-9]{1,15})-([0-9]{1,15})$/.exec(header.trim());
  if (match === null) return null;
  const range = { first: Number(match[1]), last: Number(match[2]) };
  return range.last < range.first ? null : range;
}
