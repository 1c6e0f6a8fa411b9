import { Relay, WakeQueue } from '@berth/queue';
import {
  ApiKeyStore,
  AuditStore,
  LayerStore,
  LogStore,
  MemberStore,
  NodeStore,
  QuestionStore,
  RunStore,
  type Store,
  TenantStore,
} from '@berth/store';
import { type DynamicModule, Module, type Type } from '@nestjs/common';
import { APP_FILTER, APP_GUARD, APP_PIPE } from '@nestjs/core';
import { CreateKey } from './access/create-key.js';
import { RevokeKey } from './access/revoke-key.js';
import { RotateKey } from './access/rotate-key.js';
import { AdmitRun } from './admission/admit-run.js';
import { CancelRun } from './admission/cancel-run.js';
import { DeleteRun } from './admission/delete-run.js';
import { PrepareRun } from './admission/prepare-run.js';
import { QuoteRun } from './admission/quote-run.js';
import { ResolveImage } from './admission/resolve-image.js';
import { UpdateTenant } from './admission/update-tenant.js';
import { CONFIG, type Config } from './config.js';
import { ChangeNodeState } from './fleet/change-node-state.js';
import type { ControlLinkContext } from './fleet/control-link.js';
import { CreateJoinToken } from './fleet/create-join-token.js';
import { DispatchRuns } from './fleet/dispatch-runs.js';
import { Heartbeats } from './fleet/heartbeats.js';
import { JoinNode } from './fleet/join-node.js';
import { CONTROL_LINK_CONTEXT, LinkServer, LOG_LINK_CONTEXT } from './fleet/link-server.js';
import type { LogLinkContext } from './fleet/log-link.js';
import { NodeLinks } from './fleet/node-links.js';
import { NodeOrders } from './fleet/node-orders.js';
import { NodeQuestions } from './fleet/node-questions.js';
import { controllers } from './http/controllers.js';
import { KeyGuard } from './http/key.guard.js';
import { KnownKeys } from './http/known-keys.js';
import { OPEN_API_DOCUMENT } from './http/open-api.controller.js';
import { openApiDocument } from './http/open-api.js';
import { OpenStreams } from './http/open-streams.js';
import { ProblemFilter } from './http/problem.filter.js';
import { RequestValidationPipe } from './http/validation.js';
import { CommitRun } from './images/commit-run.js';
import { ImageCatalog } from './images/image-catalog.js';
import { ListImages } from './images/list-images.js';
import { ReadDiskUsage } from './images/read-disk-usage.js';
import { RemoveImages } from './images/remove-images.js';
import { LOGGER, type Logger } from './logger.js';
import { Metrics } from './metrics/metrics.js';
import { Signals } from './queue/signals.js';
import { WakeUps } from './queue/wake-ups.js';
import { Readiness } from './readiness.js';
import { AnnounceOutcome } from './reporting/announce-outcome.js';
import { ApplyReports } from './reporting/apply-reports.js';
import { AskRun } from './reporting/ask-run.js';
import { FollowEvents } from './reporting/follow-events.js';
import { FollowLogs } from './reporting/follow-logs.js';
import { ReadChanges } from './reporting/read-changes.js';
import { RunChanges } from './reporting/run-changes.js';
import { WaitForRun } from './reporting/wait-for-run.js';
import { AdmitWaiting } from './scheduler/admit-waiting.js';
import { FairShares } from './scheduler/fair-shares.js';
import { ForgetOld } from './scheduler/forget-old.js';
import { LayerLocality } from './scheduler/layer-locality.js';
import { LoseNodes } from './scheduler/lose-nodes.js';
import { PlaceRuns } from './scheduler/place-runs.js';
import { PlaceStalled } from './scheduler/place-stalled.js';
import { ReadFairness } from './scheduler/read-fairness.js';
import { STORE } from './tokens.js';

/** What the module is built on: made before it, closed after it. */
export interface Foundations {
  readonly config: Config;
  readonly logger: Logger;
  readonly store: Store;
  /** null: without the queue, the sweeper alone places. */
  readonly wakeQueue: WakeQueue | null;
  readonly relay: Relay;
}

@Module({})
class AppModule {}

/** The parts, in the order in which a run meets them. */
export function appModule({ config, logger, store, wakeQueue, relay }: Foundations): DynamicModule {
  const value = (provide: unknown, useValue: unknown) => ({ provide: provide as symbol, useValue });
  return {
    module: AppModule,
    controllers: [...controllers] as Type[],
    providers: [
      value(CONFIG, config),
      value(LOGGER, logger),
      value(STORE, store),
      value(TenantStore, store.tenants),
      value(ApiKeyStore, store.apiKeys),
      value(MemberStore, store.members),
      value(AuditStore, store.audit),
      value(NodeStore, store.nodes),
      value(RunStore, store.runs),
      value(LogStore, store.logs),
      value(LayerStore, store.layers),
      value(QuestionStore, store.questions),
      value(WakeQueue, wakeQueue),
      value(Relay, relay),

      // http
      { provide: APP_FILTER, useClass: ProblemFilter },
      { provide: APP_GUARD, useClass: KeyGuard },
      { provide: APP_PIPE, useClass: RequestValidationPipe },
      { provide: OPEN_API_DOCUMENT, useFactory: () => openApiDocument(controllers) },
      OpenStreams,
      KnownKeys,
      // access
      CreateKey,
      RotateKey,
      RevokeKey,
      // admission
      ResolveImage,
      PrepareRun,
      AdmitRun,
      QuoteRun,
      CancelRun,
      DeleteRun,
      UpdateTenant,
      // images
      ImageCatalog,
      ListImages,
      ReadDiskUsage,
      RemoveImages,
      // queue
      WakeUps,
      Signals,
      // scheduler
      FairShares,
      LayerLocality,
      ReadFairness,
      PlaceRuns,
      PlaceStalled,
      AdmitWaiting,
      ForgetOld,
      LoseNodes,
      // fleet
      NodeLinks,
      NodeOrders,
      NodeQuestions,
      DispatchRuns,
      Heartbeats,
      JoinNode,
      CreateJoinToken,
      ChangeNodeState,
      LinkServer,
      controlLinkContext,
      logLinkContext,
      // reporting
      RunChanges,
      AnnounceOutcome,
      ApplyReports,
      WaitForRun,
      FollowLogs,
      FollowEvents,
      AskRun,
      ReadChanges,
      CommitRun,

      Metrics,
      Readiness,
    ],
  };
}

const controlLinkContext = {
  provide: CONTROL_LINK_CONTEXT,
  inject: [CONFIG, LOGGER, NodeStore, LayerStore, NodeLinks, NodeOrders, NodeQuestions, Heartbeats, ApplyReports, WakeUps, Metrics],
  useFactory: (
    config: Config,
    logger: Logger,
    nodes: NodeStore,
    layers: LayerStore,
    links: NodeLinks,
    orders: NodeOrders,
    questions: NodeQuestions,
    heartbeats: Heartbeats,
    applyReports: ApplyReports,
    wakeUps: WakeUps,
    metrics: Metrics,
  ): ControlLinkContext => ({ config, logger, nodes, layers, links, orders, questions, heartbeats, applyReports, wakeUps, metrics }),
};

const logLinkContext = {
  provide: LOG_LINK_CONTEXT,
  inject: [LogStore, RunChanges, Metrics, LOGGER],
  useFactory: (logs: LogStore, changes: RunChanges, metrics: Metrics, logger: Logger): LogLinkContext => ({
    logs,
    changes,
    metrics,
    logger,
  }),
};
