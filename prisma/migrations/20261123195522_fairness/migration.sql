-- DropForeignKey
ALTER TABLE "registry_blobs" DROP CONSTRAINT "registry_blobs_tenant_id_fkey";

-- AlterTable
ALTER TABLE "tenants" DROP COLUMN "quota_registry_bytes",
DROP COLUMN "used_registry_bytes",
ADD COLUMN     "weight" INTEGER NOT NULL DEFAULT 100;

-- DropTable
DROP TABLE "registry_blobs";

-- CreateIndex
CREATE INDEX "runs_untold_idx" ON "runs"("id") WHERE (state = 'queued' AND reserved AND waiting_reason IS NULL);

-- What the arithmetic promises, held to by the database as well. The older check went with one of its columns.
ALTER TABLE "tenants" ADD CONSTRAINT "tenants_used_each_check" CHECK (
    "used_disk_bytes" >= 0 AND "used_pids" >= 0 AND "used_log_bytes" >= 0 AND "used_monthly_cpu_ms" >= 0
    AND "used_monthly_memory_mib_seconds" >= 0
);
ALTER TABLE "tenants" ADD CONSTRAINT "tenants_weight_check" CHECK ("weight" >= 1);
