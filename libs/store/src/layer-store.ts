import type pg from 'pg';
import { LayerStore, type SizedLayer } from './ports.js';

export class PostgresLayerStore extends LayerStore {
  constructor(private readonly pool: pg.Pool) {
    super();
  }

  override async tell(nodeId: string, layers: readonly string[]): Promise<void> {
    await this.pool.query(
      'INSERT INTO node_layers (node_id, layers) VALUES ($1, $2) ON CONFLICT (node_id) DO UPDATE SET layers = excluded.layers',
      [nodeId, layers],
    );
  }

  override async held(): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const { rows } = await this.pool.query<{ node_id: string; layers: string[] }>(
      `SELECT node_id, layers FROM node_layers JOIN nodes ON nodes.id = node_id WHERE nodes.state = 'ready'`,
    );
    return new Map(rows.map(({ node_id, layers }) => [node_id, new Set(layers)]));
  }

  override async describe(image: string, layers: readonly SizedLayer[]): Promise<void> {
    // What is behind a digest never changes.
    await this.pool.query('INSERT INTO image_layers (digest, layers) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
      image,
      JSON.stringify(layers),
    ]);
  }

  override async layersOf(images: readonly string[]): Promise<ReadonlyMap<string, readonly SizedLayer[]>> {
    const { rows } = await this.pool.query<{ digest: string; layers: SizedLayer[] }>(
      'SELECT digest, layers FROM image_layers WHERE digest = ANY($1)',
      [images],
    );
    return new Map(rows.map(({ digest, layers }) => [digest, layers]));
  }
}
