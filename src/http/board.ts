import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import type { HookContext } from '@bull-board/api/typings/app';
import { ExpressAdapter } from '@bull-board/express';
import { Router } from 'express';
import type { Broker } from '../broker/queues.js';
import { payloadSchemaOf } from '../jobs/describe.js';
import type { Registry } from '../jobs/registry.js';
import { principalIn, requires } from './guard.js';

/**
 * Bull Board, twice on one address: read-only for who may look, and with its actions for who may operate. The
 * server enforces both.
 */
export function boardRoutes(broker: Broker, registry: Registry): Router {
  const looking = createBoard(broker, registry, true);
  const operating = createBoard(broker, registry, false);
  const routes = Router();
  routes.use('/board', requires('read'), (request, response, next) => {
    const board = principalIn(response)?.may('operate') ? operating : looking;
    board(request, response, next);
  });
  return routes;
}

function createBoard(broker: Broker, registry: Registry, readOnlyMode: boolean) {
  const serverAdapter = new ExpressAdapter().setBasePath('/board');
  createBullBoard({
    queues: registry.jobs.map((job) => {
      const options = { readOnlyMode, description: job.description, jobDataSchema: payloadSchemaOf(job) };
      return new OwnedSchedules(broker.queue(job.name), options);
    }),
    serverAdapter,
    options: {
      uiConfig: {
        boardTitle: 'Rondo',
        hideDocsLink: true,
        miscLinks: [{ text: 'Sign out', url: '/logout' }],
      },
      handlerHooks: { before: keepSchedulesSound },
    },
  });
  return serverAdapter.getRouter();
}

/** Schedules belong to Rondo: the board shows them, and offers no edit, which would be undone in ten seconds. */
class OwnedSchedules extends BullMQAdapter {
  override get supportsJobSchedulerUpdate(): boolean {
    return false;
  }
}

const refusal = {
  allow: false,
  status: 403,
  message:
    'Rondo owns its schedules: change them where the job is defined; `rondo schedules plan` shows what that does',
} as const;

/** What would take schedulers along, or change one behind the producer's back. */
const refused = [
  'patch /api/queues/:queueName/job-schedulers/:schedulerId',
  'put /api/queues/:queueName/job-schedulers/:schedulerId/remove',
  'put /api/queues/:queueName/obliterate',
];

function keepSchedulesSound({ method, route }: HookContext) {
  return refused.includes(`${method} ${route}`) ? refusal : undefined;
}
