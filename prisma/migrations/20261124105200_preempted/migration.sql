ALTER TABLE "runs" ADD COLUMN     "preempted_for" TEXT;
