import { AdminNodesController } from './admin-nodes.controller.js';
import { AdminTenantsController } from './admin-tenants.controller.js';
import { HealthController } from './health.controller.js';
import { ImagesController } from './images.controller.js';
import { NodesController } from './nodes.controller.js';
import { OpenApiController } from './open-api.controller.js';
import { RunStreamsController } from './run-streams.controller.js';
import { RunsController } from './runs.controller.js';
import { TenantController } from './tenant.controller.js';

/** Every controller: what is served is what /openapi.json describes. */
export const controllers = [
  RunsController,
  RunStreamsController,
  TenantController,
  ImagesController,
  AdminTenantsController,
  AdminNodesController,
  NodesController,
  HealthController,
  OpenApiController,
] as const;
