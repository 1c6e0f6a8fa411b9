-- AlterTable
ALTER TABLE "nodes" ADD COLUMN     "disk" JSONB;
