ALTER TABLE "tenants" ADD COLUMN     "retain_runs_ms" BIGINT;

-- Those that may be forgotten, the oldest of each tenant first.
CREATE INDEX "runs_ended_idx" ON "runs"("tenant_id", "finished_at") WHERE (finished_at IS NOT NULL);
