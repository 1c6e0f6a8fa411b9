-- AlterTable
ALTER TABLE "nodes" ADD COLUMN     "disk_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "reserved_disk_bytes" BIGINT NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "runs" ADD COLUMN     "budget_cpu_ms" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "budget_memory_mib_seconds" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "budget_month" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "disk_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "kept_log_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "log_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "pids" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "spent_ms" BIGINT NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "tenants" ADD COLUMN     "budget_month" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "quota_disk_bytes" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_log_bytes" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_monthly_cpu_ms" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_monthly_memory_mib_seconds" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_pids" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_queued_runs" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_registry_bytes" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "quota_submissions_per_minute" BIGINT NOT NULL DEFAULT 9007199254740991,
ADD COLUMN     "rate_minute" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "rate_submissions" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "run_limits" JSONB NOT NULL DEFAULT '{}',
ADD COLUMN     "used_disk_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "used_log_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "used_monthly_cpu_ms" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "used_monthly_memory_mib_seconds" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "used_pids" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "used_registry_bytes" BIGINT NOT NULL DEFAULT 0;

-- CreateTable
CREATE TABLE "budgets" (
    "tenant_id" TEXT NOT NULL,
    "month" INTEGER NOT NULL,
    "spent_cpu_ms" BIGINT NOT NULL,
    "spent_memory_mib_seconds" BIGINT NOT NULL,

    CONSTRAINT "budgets_pkey" PRIMARY KEY ("tenant_id","month")
);

-- CreateTable
CREATE TABLE "registry_blobs" (
    "tenant_id" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "bytes" BIGINT NOT NULL,

    CONSTRAINT "registry_blobs_pkey" PRIMARY KEY ("tenant_id","digest")
);

-- AddForeignKey
ALTER TABLE "budgets" ADD CONSTRAINT "budgets_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenants"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "registry_blobs" ADD CONSTRAINT "registry_blobs_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenants"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- Runs of before hold their processes from now on, and their logs count as long as they are kept. They hold nothing of the budgets.
UPDATE "runs" SET "pids" = coalesce(("spec" -> 'resources' ->> 'pids')::int, 0);
UPDATE "runs" SET "kept_log_bytes" = written.bytes
FROM (SELECT "run_id", sum(coalesce("log_bytes", "log_stored_bytes")) AS bytes FROM "attempts" GROUP BY "run_id") AS written
WHERE "runs"."id" = written."run_id" AND "runs"."state" IN ('succeeded', 'failed', 'canceled');
UPDATE "tenants" SET "used_pids" = sums.pids, "used_log_bytes" = sums.logs
FROM (
    SELECT "tenant_id", coalesce(sum("pids") FILTER (WHERE "reserved"), 0) AS pids, sum("kept_log_bytes") AS logs FROM "runs" GROUP BY "tenant_id"
) AS sums
WHERE "tenants"."id" = sums."tenant_id";

-- What the arithmetic promises, held to by the database as well.
ALTER TABLE "tenants" ADD CONSTRAINT "tenants_used_all_check" CHECK (
    "used_disk_bytes" >= 0 AND "used_pids" >= 0 AND "used_log_bytes" >= 0 AND "used_monthly_cpu_ms" >= 0
    AND "used_monthly_memory_mib_seconds" >= 0 AND "used_registry_bytes" >= 0
);
ALTER TABLE "runs" ADD CONSTRAINT "runs_amounts_check" CHECK (
    "disk_bytes" >= 0 AND "pids" >= 0 AND "log_bytes" >= 0 AND "budget_cpu_ms" >= 0 AND "budget_memory_mib_seconds" >= 0
    AND "spent_ms" >= 0 AND "kept_log_bytes" >= 0
);
ALTER TABLE "nodes" ADD CONSTRAINT "nodes_reserved_disk_check" CHECK ("reserved_disk_bytes" >= 0);
