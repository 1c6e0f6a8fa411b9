import { each } from './sql/quota-columns.js';
import type { StoreFixture } from './testing.js';

/*
 * Triggers that watch every single row version, so that a promise broken for an instant within a race is seen, not only what is left of it.
 * They note and never prevent: the store has to keep its promises without them.
 */
const triggers = `
  CREATE TABLE violations (what text NOT NULL);

  CREATE FUNCTION watch_tenant() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    ${each(
      '\n    ',
      ({ name, dimension }) => `IF NEW.used_${name} > NEW.quota_${name} AND NEW.used_${name} > OLD.used_${name} THEN
      INSERT INTO violations VALUES ('${dimension} exceeded: ' || NEW.used_${name});
    END IF;`,
    )}
    IF NEW.waiting_runs > NEW.quota_queued_runs AND NEW.waiting_runs > OLD.waiting_runs THEN
      INSERT INTO violations VALUES ('queuedRuns exceeded: ' || NEW.waiting_runs);
    END IF;
    IF NEW.rate_submissions > NEW.quota_submissions_per_minute AND NEW.rate_submissions > OLD.rate_submissions THEN
      INSERT INTO violations VALUES ('submissionsPerMinute exceeded: ' || NEW.rate_submissions);
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER watch_tenant AFTER UPDATE ON tenants FOR EACH ROW EXECUTE FUNCTION watch_tenant();

  CREATE FUNCTION watch_node() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.reserved_cpu_millis > NEW.cpu_millis OR NEW.reserved_memory_bytes > NEW.memory_bytes THEN
      INSERT INTO violations VALUES ('node overcommitted: ' || NEW.id);
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER watch_node AFTER UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION watch_node();

  CREATE FUNCTION watch_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.state IN ('succeeded', 'failed', 'canceled') THEN
      INSERT INTO violations VALUES ('terminal run written: ' || OLD.state || ' to ' || NEW.state);
    END IF;
    IF NEW.epoch < OLD.epoch OR (NEW.node_id IS NOT NULL AND NEW.node_id IS DISTINCT FROM OLD.node_id AND NEW.epoch <= OLD.epoch) THEN
      INSERT INTO violations VALUES ('epoch did not rise: ' || OLD.epoch || ' to ' || NEW.epoch);
    END IF;
    IF NEW.epoch > OLD.epoch AND (OLD.state <> 'queued' OR NEW.state <> 'placed') THEN
      INSERT INTO violations VALUES ('epoch rose while ' || OLD.state);
    END IF;
    RETURN NEW;
  END $$;
  CREATE TRIGGER watch_run AFTER UPDATE ON runs FOR EACH ROW EXECUTE FUNCTION watch_run();`;

export async function installWatchers(fixture: StoreFixture): Promise<void> {
  await fixture.query(triggers);
}

export async function violations(fixture: StoreFixture): Promise<string[]> {
  return (await fixture.query<{ what: string }>('SELECT DISTINCT what FROM violations')).map((row) => row.what);
}
