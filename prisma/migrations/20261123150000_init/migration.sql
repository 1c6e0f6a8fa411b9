-- CreateTable
CREATE TABLE "tenants" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "quota_concurrent_runs" INTEGER NOT NULL,
    "quota_cpu_millis" INTEGER NOT NULL,
    "quota_memory_bytes" BIGINT NOT NULL,
    "used_concurrent_runs" INTEGER NOT NULL DEFAULT 0,
    "used_cpu_millis" INTEGER NOT NULL DEFAULT 0,
    "used_memory_bytes" BIGINT NOT NULL DEFAULT 0,
    "waiting_runs" INTEGER NOT NULL DEFAULT 0,
    "require_digest" BOOLEAN NOT NULL DEFAULT false,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "tenants_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "api_keys" (
    "id" TEXT NOT NULL,
    "tenant_id" TEXT,
    "name" TEXT NOT NULL,
    "hash" TEXT NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_keys_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "join_tokens" (
    "hash" TEXT NOT NULL,
    "uses_left" INTEGER NOT NULL,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "join_tokens_pkey" PRIMARY KEY ("hash")
);

-- CreateTable
CREATE TABLE "nodes" (
    "id" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "drain_requested" BOOLEAN NOT NULL DEFAULT false,
    "credential_hash" TEXT NOT NULL,
    "cpu_millis" INTEGER NOT NULL DEFAULT 0,
    "memory_bytes" BIGINT NOT NULL DEFAULT 0,
    "reserved_cpu_millis" INTEGER NOT NULL DEFAULT 0,
    "reserved_memory_bytes" BIGINT NOT NULL DEFAULT 0,
    "reserved_runs" INTEGER NOT NULL DEFAULT 0,
    "agent_version" TEXT NOT NULL DEFAULT '',
    "kernel" TEXT NOT NULL DEFAULT '',
    "architecture" TEXT NOT NULL DEFAULT '',
    "cgroup_mode" TEXT NOT NULL DEFAULT 'v2',
    "last_heartbeat_at" TIMESTAMPTZ(3),
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "nodes_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "runs" (
    "id" TEXT NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "reserved" BOOLEAN NOT NULL,
    "waiting_for" TEXT,
    "waiting_reason" TEXT,
    "image" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "spec" JSONB NOT NULL,
    "labels" JSONB NOT NULL DEFAULT '{}',
    "cpu_millis" INTEGER NOT NULL,
    "memory_bytes" BIGINT NOT NULL,
    "priority" INTEGER NOT NULL,
    "max_attempts" INTEGER NOT NULL,
    "on_node_lost" TEXT NOT NULL,
    "attempt" INTEGER NOT NULL DEFAULT 0,
    "epoch" INTEGER NOT NULL DEFAULT 0,
    "node_id" TEXT,
    "cancel_requested" BOOLEAN NOT NULL DEFAULT false,
    "exit_code" INTEGER,
    "signal" INTEGER,
    "failure" JSONB,
    "created_at" TIMESTAMPTZ(3) NOT NULL,
    "queued_at" TIMESTAMPTZ(3) NOT NULL,
    "started_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "runs_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "attempts" (
    "run_id" TEXT NOT NULL,
    "number" INTEGER NOT NULL,
    "epoch" INTEGER NOT NULL,
    "node_id" TEXT NOT NULL,
    "placed_at" TIMESTAMPTZ(3) NOT NULL,
    "started_at" TIMESTAMPTZ(3),
    "finished_at" TIMESTAMPTZ(3),
    "exit_code" INTEGER,
    "signal" INTEGER,
    "oom_killed" BOOLEAN NOT NULL DEFAULT false,
    "failure" JSONB,
    "peak_memory_bytes" BIGINT,
    "cpu_time_us" BIGINT,
    "log_bytes" BIGINT,
    "log_stored_bytes" BIGINT NOT NULL DEFAULT 0,
    "abandoned" BOOLEAN NOT NULL DEFAULT false,

    CONSTRAINT "attempts_pkey" PRIMARY KEY ("run_id","number")
);

-- CreateTable
CREATE TABLE "run_events" (
    "id" BIGSERIAL NOT NULL,
    "run_id" TEXT NOT NULL,
    "tenant_id" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "attempt" INTEGER,
    "message" TEXT,
    "at" TIMESTAMPTZ(3) NOT NULL,
    "recorded_at" TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT "run_events_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "idempotency_keys" (
    "tenant_id" TEXT NOT NULL,
    "key" TEXT NOT NULL,
    "body_hash" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,

    CONSTRAINT "idempotency_keys_pkey" PRIMARY KEY ("tenant_id","key")
);

-- CreateTable
CREATE TABLE "outbox" (
    "id" BIGSERIAL NOT NULL,
    "run_id" TEXT NOT NULL,
    "attempt" INTEGER NOT NULL,

    CONSTRAINT "outbox_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "log_chunks" (
    "run_id" TEXT NOT NULL,
    "attempt" INTEGER NOT NULL,
    "end_offset" BIGINT NOT NULL,
    "start_offset" BIGINT NOT NULL,
    "bytes" BYTEA NOT NULL,

    CONSTRAINT "log_chunks_pkey" PRIMARY KEY ("run_id","attempt","end_offset")
);

-- CreateIndex
CREATE UNIQUE INDEX "tenants_name_key" ON "tenants"("name");

-- CreateIndex
CREATE UNIQUE INDEX "api_keys_hash_key" ON "api_keys"("hash");

-- CreateIndex
CREATE INDEX "api_keys_tenant_id_idx" ON "api_keys"("tenant_id");

-- CreateIndex
CREATE UNIQUE INDEX "nodes_credential_hash_key" ON "nodes"("credential_hash");

-- CreateIndex
CREATE INDEX "runs_tenant_id_id_idx" ON "runs"("tenant_id", "id");

-- CreateIndex
CREATE INDEX "runs_waiting_for_quota_idx" ON "runs"("tenant_id", "priority" DESC, "id") WHERE (state = 'queued' AND NOT reserved);

-- CreateIndex
CREATE INDEX "runs_awaiting_node_idx" ON "runs"("tenant_id", "priority" DESC, "id") WHERE (state = 'queued' AND reserved);

-- CreateIndex
CREATE INDEX "runs_on_node_idx" ON "runs"("node_id", "id") WHERE (node_id IS NOT NULL);

-- CreateIndex
CREATE INDEX "runs_active_idx" ON "runs"("tenant_id") WHERE (node_id IS NOT NULL);

-- CreateIndex
CREATE INDEX "run_events_run_id_id_idx" ON "run_events"("run_id", "id");

-- CreateIndex
CREATE INDEX "run_events_tenant_id_id_idx" ON "run_events"("tenant_id", "id");

-- CreateIndex
CREATE INDEX "idempotency_keys_run_id_idx" ON "idempotency_keys"("run_id");

-- CreateIndex
CREATE INDEX "outbox_run_id_idx" ON "outbox"("run_id");

-- AddForeignKey
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenants"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "runs" ADD CONSTRAINT "runs_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenants"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempts" ADD CONSTRAINT "attempts_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "runs"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "attempts" ADD CONSTRAINT "attempts_node_id_fkey" FOREIGN KEY ("node_id") REFERENCES "nodes"("id") ON DELETE RESTRICT ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "run_events" ADD CONSTRAINT "run_events_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "runs"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "idempotency_keys" ADD CONSTRAINT "idempotency_keys_tenant_id_fkey" FOREIGN KEY ("tenant_id") REFERENCES "tenants"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "idempotency_keys" ADD CONSTRAINT "idempotency_keys_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "runs"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "outbox" ADD CONSTRAINT "outbox_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "runs"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "log_chunks" ADD CONSTRAINT "log_chunks_run_id_attempt_fkey" FOREIGN KEY ("run_id", "attempt") REFERENCES "attempts"("run_id", "number") ON DELETE CASCADE ON UPDATE CASCADE;


-- What the arithmetic promises, held to by the database as well.
ALTER TABLE "tenants" ADD CONSTRAINT "tenants_used_check" CHECK ("used_concurrent_runs" >= 0 AND "used_cpu_millis" >= 0 AND "used_memory_bytes" >= 0 AND "waiting_runs" >= 0);
ALTER TABLE "nodes" ADD CONSTRAINT "nodes_reserved_check" CHECK ("reserved_cpu_millis" >= 0 AND "reserved_memory_bytes" >= 0 AND "reserved_runs" >= 0);
ALTER TABLE "nodes" ADD CONSTRAINT "nodes_state_check" CHECK ("state" IN ('ready', 'lost', 'draining', 'dead'));
ALTER TABLE "runs" ADD CONSTRAINT "runs_state_check" CHECK ("state" IN ('queued', 'placed', 'preparing', 'running', 'stopping', 'succeeded', 'failed', 'canceled'));
-- A run on a node holds a reservation, and one that ended holds neither.
ALTER TABLE "runs" ADD CONSTRAINT "runs_reserved_check" CHECK (
    CASE
        WHEN "state" IN ('succeeded', 'failed', 'canceled') THEN NOT "reserved" AND "node_id" IS NULL
        WHEN "state" = 'queued' THEN "node_id" IS NULL
        ELSE "reserved" AND "node_id" IS NOT NULL
    END
);
ALTER TABLE "runs" ADD CONSTRAINT "runs_attempt_check" CHECK ("attempt" <= "max_attempts");
