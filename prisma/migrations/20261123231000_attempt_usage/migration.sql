ALTER TABLE "attempts" ADD COLUMN     "usage" JSONB;
