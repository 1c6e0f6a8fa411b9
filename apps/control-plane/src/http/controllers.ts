import { AdminKeysController } from './admin-keys.controller.js';
import { AdminNodesController } from './admin-nodes.controller.js';
import { AdminTenantsController } from './admin-tenants.controller.js';
import { AuditController } from './audit.controller.js';
import { HealthController } from './health.controller.js';
import { ImagesController } from './images.controller.js';
import { KeysController } from './keys.controller.js';
import { MembersController } from './members.controller.js';
import { NodesController } from './nodes.controller.js';
import { OpenApiController } from './open-api.controller.js';
import { RunFilesController } from './run-files.controller.js';
import { RunStreamsController } from './run-streams.controller.js';
import { RunsController } from './runs.controller.js';
import { TenantController } from './tenant.controller.js';
import { UsageController } from './usage.controller.js';

/** Every controller: what is served is what /openapi.json describes. */
export const controllers = [
  RunsController,
  RunStreamsController,
  RunFilesController,
  TenantController,
  UsageController,
  ImagesController,
  KeysController,
  MembersController,
  AuditController,
  AdminTenantsController,
  AdminKeysController,
  AdminNodesController,
  NodesController,
  HealthController,
  OpenApiController,
] as const;
