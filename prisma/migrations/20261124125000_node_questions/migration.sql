CREATE TABLE "node_questions" (
    "id" TEXT NOT NULL,
    "node_id" TEXT NOT NULL,
    "run_id" TEXT NOT NULL,
    "attempt" INTEGER NOT NULL,
    "epoch" INTEGER NOT NULL,
    "question" JSONB NOT NULL,
    "answer" JSONB,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "node_questions_pkey" PRIMARY KEY ("id")
);

CREATE INDEX "node_questions_expires_at_idx" ON "node_questions"("expires_at");
