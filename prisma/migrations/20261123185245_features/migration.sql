-- AlterTable
ALTER TABLE "nodes" ADD COLUMN     "features" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- AlterTable
ALTER TABLE "runs" ADD COLUMN     "needs" TEXT[] DEFAULT ARRAY[]::TEXT[];

-- AlterTable
ALTER TABLE "tenants" ADD COLUMN     "features" TEXT[] DEFAULT ARRAY[]::TEXT[];
