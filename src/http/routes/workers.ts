import { Router } from 'express';
import type { Broker } from '../../broker/queues.js';
import { listProcesses } from '../../producers/processes.js';
import { requires } from '../guard.js';
import { answerMs } from '../request.js';
import { withinMs } from '../within.js';

/** Who is alive, and what they execute. */
export function workerRoutes(broker: Broker): Router {
  const routes = Router();
  routes.get('/workers', requires('read'), async (_request, response) => {
    response.json(await withinMs(answerMs, listProcesses(broker)));
  });
  return routes;
}
