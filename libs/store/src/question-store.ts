import type pg from 'pg';
import { type QuestionRow, QuestionStore } from './ports.js';

export class PostgresQuestionStore extends QuestionStore {
  constructor(private readonly pool: pg.Pool) {
    super();
  }

  override async ask(row: QuestionRow, now: Date, expiresAt: Date): Promise<void> {
    const { id, nodeId, lease, question } = row;
    // A replica that died while it waited cannot remove its own.
    await this.pool.query('DELETE FROM node_questions WHERE expires_at < $1', [now]);
    await this.pool.query(
      `INSERT INTO node_questions (id, node_id, run_id, attempt, epoch, question, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
      [id, nodeId, lease.runId, lease.attempt, lease.epoch, JSON.stringify(question), expiresAt],
    );
  }

  override async unanswered(nodeId: string, id: string): Promise<QuestionRow | null> {
    const { rows } = await this.pool.query<{ run_id: string; attempt: number; epoch: number; question: object }>(
      'SELECT run_id, attempt, epoch, question FROM node_questions WHERE id = $1 AND node_id = $2 AND answer IS NULL',
      [id, nodeId],
    );
    const [row] = rows;
    if (row === undefined) return null;
    const { run_id: runId, attempt, epoch, question } = row;
    return { id, nodeId, lease: { runId, attempt, epoch }, question };
  }

  override async answer(nodeId: string, id: string, answer: object): Promise<boolean> {
    const { rowCount } = await this.pool.query('UPDATE node_questions SET answer = $3 WHERE id = $1 AND node_id = $2 AND answer IS NULL', [
      id,
      nodeId,
      JSON.stringify(answer),
    ]);
    return rowCount === 1;
  }

  override async answerOf(id: string): Promise<unknown> {
    const { rows } = await this.pool.query<{ answer: unknown }>('SELECT answer FROM node_questions WHERE id = $1', [id]);
    return rows[0]?.answer ?? null;
  }

  override async forget(id: string): Promise<void> {
    await this.pool.query('DELETE FROM node_questions WHERE id = $1', [id]);
  }
}
