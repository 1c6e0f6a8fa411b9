/** One line of a container's output, or a part of a long one, as the node recorded it. */
export interface CriRecord {
  /** RFC 3339 in UTC, nanoseconds. */
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** The line goes on in the stream's next record. */
  readonly partial: boolean;
  readonly bytes: Buffer;
}

/** Longer than any record of an honest node: 16 KiB of output and its head. */
const recordBytesMax = 64 * 1024;
const newline = 0x0a;
const head = /^(\S{20,40}) (stdout|stderr) ([FP]) /;

/**
 * Splits a log file in the CRI format (kubernetes/design-proposals-archive, kubelet-cri-logging: `TIME STREAM F|P BYTES`) into records, chunk by chunk.
 * What is no record is left out.
 */
export class CriRecords {
  private rest: Buffer = Buffer.alloc(0);

  *push(chunk: Buffer): Generator<CriRecord> {
    let bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline)) {
      const record = parseRecord(bytes.subarray(0, end));
      bytes = bytes.subarray(end + 1);
      if (record !== null) yield record;
    }
    this.rest = bytes.length > recordBytesMax ? Buffer.alloc(0) : Buffer.from(bytes);
  }
}

function parseRecord(line: Buffer): CriRecord | null {
  const match = head.exec(line.subarray(0, 64).toString('latin1'));
  if (match === null) return null;
  const [{ length }, time, stream, tag] = match;
  return { time: time as string, stream: stream as 'stdout' | 'stderr', partial: tag === 'P', bytes: line.subarray(length) };
}
