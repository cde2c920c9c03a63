import { Router } from 'express';
import type { Broker } from '../../broker/queues.js';
import { diagnose, type ServiceExamined } from '../../producers/examination.js';
import { requires } from '../guard.js';
import { withinLongMs } from '../within.js';

/** What is wrong with the settings of this process, its Redis and what that holds; and putting it right. */
export function doctorRoutes(broker: Broker, examined: ServiceExamined): Router {
  const routes = Router();

  routes.get('/doctor', requires('admin'), async (_request, response) => {
    response.json(await withinLongMs(broker, lookMs, () => diagnose(broker, { ...examined, fix: false })));
  });

  routes.post('/doctor/fix', requires('admin'), async (_request, response) => {
    response.json(await withinLongMs(broker, fixMs, () => diagnose(broker, { ...examined, fix: true })));
  });

  return routes;
}

/** All keys are looked through for 5 s, and ten thousand schedules read in a second or two, in ms. */
const lookMs = 20_000;
const fixMs = 60_000;
