import type { logRecord } from '@berth/wire';
import type { z } from 'zod';
import { CriRecords } from '../reporting/cri-records.js';

type Stream = 'stdout' | 'stderr';
const newline = Buffer.from('\n');

/** The output as the container wrote it, bytes unchanged; of one stream or of both in order. */
export async function* logAsText(chunks: AsyncIterable<Buffer>, only: Stream | undefined): AsyncGenerator<Buffer> {
  const records = new CriRecords();
  for await (const chunk of chunks) {
    const pieces: Buffer[] = [];
    for (const record of records.push(chunk)) {
      if (only !== undefined && record.stream !== only) continue;
      pieces.push(record.bytes);
      if (!record.partial) pieces.push(newline);
    }
    if (pieces.length > 0) yield Buffer.concat(pieces);
  }
}

/** The output as one `logRecord` a line. A character that was cut between two parts of a line is whole in the second. */
export async function* logAsNdjson(chunks: AsyncIterable<Buffer>, only: Stream | undefined): AsyncGenerator<string> {
  const records = new CriRecords();
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  for await (const chunk of chunks) {
    let lines = '';
    for (const { time, stream, partial, bytes } of records.push(chunk)) {
      if (only !== undefined && stream !== only) continue;
      const record: z.infer<typeof logRecord> = { time, stream, partial, text: decoders[stream].decode(bytes, { stream: partial }) };
      lines += `${JSON.stringify(record)}\n`;
    }
    if (lines !== '') yield lines;
  }
}
