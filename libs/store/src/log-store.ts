import type pg from 'pg';
import { type LeaseRow, LogStore } from './ports.js';

/*
 * Log bytes in chunks that lie end to end, so what is stored of an attempt is always a gap-free prefix (I10). An attempt's own node may go on
 * shipping after the attempt ended, and after the run went on to another attempt; not after the attempt was given up.
 */

const appendStatement = `
  WITH attempt AS (
    UPDATE attempts SET log_stored_bytes = $5::bigint + length($6::bytea)
    WHERE run_id = $1 AND number = $2 AND epoch = $3 AND node_id = $4 AND NOT abandoned AND log_stored_bytes = $5
    RETURNING run_id, number, log_stored_bytes
  ), chunk AS (
    INSERT INTO log_chunks (run_id, attempt, start_offset, end_offset, bytes) SELECT run_id, number, $5, log_stored_bytes, $6 FROM attempt
  )
  SELECT log_stored_bytes FROM attempt`;

const storedStatement = `
  SELECT log_stored_bytes FROM attempts WHERE run_id = $1 AND number = $2 AND epoch = $3 AND node_id = $4 AND NOT abandoned`;

/** No more will come: everything written is stored, or nobody is left who could send it. */
const completeStatement = `
  SELECT a.finished_at IS NOT NULL AND (a.abandoned OR n.state = 'dead' OR a.log_stored_bytes >= coalesce(a.log_bytes, 0)) AS complete
  FROM attempts a JOIN nodes n ON n.id = a.node_id WHERE a.run_id = $1 AND a.number = $2`;

export class PostgresLogStore extends LogStore {
  constructor(private readonly pool: pg.Pool) {
    super();
  }

  override async append(nodeId: string, lease: LeaseRow, offset: number, bytes: Buffer): Promise<{ nextOffset: number; stale: boolean }> {
    const key = [lease.runId, lease.attempt, lease.epoch, nodeId];
    let from = offset;
    for (;;) {
      const rest = bytes.subarray(from - offset);
      if (rest.length > 0) {
        const written = await this.pool.query<{ log_stored_bytes: number }>({
          name: 'append-log',
          text: appendStatement,
          values: [...key, from, rest],
        });
        if (written.rows[0] !== undefined) return { nextOffset: written.rows[0].log_stored_bytes, stale: false };
      }
      const stored = (await this.pool.query<{ log_stored_bytes: number }>(storedStatement, key)).rows[0]?.log_stored_bytes;
      if (stored === undefined) return { nextOffset: 0, stale: true };
      // A gap before it, or all of it known already: the sender goes on from what is stored.
      if (stored <= from || stored >= offset + bytes.length) return { nextOffset: stored, stale: false };
      from = stored;
    }
  }

  override async read(
    runId: string,
    attempt: number,
    offset: number,
    limit: number,
  ): Promise<{ bytes: Buffer; nextOffset: number; complete: boolean }> {
    // Asked for first: what is found complete here is still all there when the chunks are read.
    const ended = await this.pool.query<{ complete: boolean }>({ name: 'log-complete', text: completeStatement, values: [runId, attempt] });
    const chunks = await this.pool.query<{ start_offset: number; bytes: Buffer }>({
      name: 'read-log',
      text: `SELECT start_offset, bytes FROM log_chunks
             WHERE run_id = $1 AND attempt = $2 AND end_offset > $3 AND start_offset < $3::bigint + $4::bigint ORDER BY end_offset`,
      values: [runId, attempt, offset, limit],
    });
    const parts = chunks.rows.map((chunk) =>
      chunk.bytes.subarray(Math.max(0, offset - chunk.start_offset), Math.max(0, offset + limit - chunk.start_offset)),
    );
    const bytes = Buffer.concat(parts);
    // A full answer says nothing of what lies behind it.
    return { bytes, nextOffset: offset + bytes.length, complete: ended.rows[0]?.complete === true && bytes.length < limit };
  }
}
