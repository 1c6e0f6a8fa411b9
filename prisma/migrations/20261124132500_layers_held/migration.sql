CREATE TABLE "node_layers" (
    "node_id" TEXT NOT NULL,
    "layers" TEXT[] NOT NULL,

    CONSTRAINT "node_layers_pkey" PRIMARY KEY ("node_id")
);

CREATE TABLE "image_layers" (
    "digest" TEXT NOT NULL,
    "layers" JSONB NOT NULL,

    CONSTRAINT "image_layers_pkey" PRIMARY KEY ("digest")
);
