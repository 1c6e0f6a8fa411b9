CREATE TABLE "usage_days" (
    "tenant_id" TEXT NOT NULL,
    "day" DATE NOT NULL,
    "label_key" TEXT NOT NULL,
    "label_value" TEXT NOT NULL,
    "runs" BIGINT NOT NULL,
    "attempts" BIGINT NOT NULL,
    "run_ms" BIGINT NOT NULL,
    "cpu_time_us" BIGINT NOT NULL,
    "reserved_cpu_ms" BIGINT NOT NULL,
    "reserved_memory_mib_seconds" BIGINT NOT NULL,
    "log_bytes" BIGINT NOT NULL,

    CONSTRAINT "usage_days_pkey" PRIMARY KEY ("tenant_id", "day", "label_key", "label_value")
);

ALTER TABLE "usage_days" ADD CONSTRAINT "usage_days_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenants"("id") ON DELETE CASCADE ON UPDATE CASCADE;
