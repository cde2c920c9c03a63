import { Router } from 'express';
import type { Broker } from '../../broker/queues.js';
import { listProcesses } from '../../producers/processes.js';
import { readService } from '../../producers/service.js';
import { requires } from '../guard.js';
import { answerMs } from '../request.js';
import { withinLongMs, withinMs } from '../within.js';

/** Who is alive, and what they execute; and the whole service at a glance. */
export function workerRoutes(broker: Broker, now: () => number): Router {
  const routes = Router();
  routes.get('/workers', requires('read'), async (_request, response) => {
    response.json(await withinMs(answerMs, listProcesses(broker)));
  });
  routes.get('/service', requires('read'), async (_request, response) => {
    response.json(await withinLongMs(broker, serviceMs, () => readService(broker, now())));
  });
  return routes;
}

/** Ten thousand schedules are read in a second or two, in ms. */
const serviceMs = 10_000;
