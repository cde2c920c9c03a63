import { Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import type { Emit } from '../../jobs/events.js';
import { type DeployInput, deploy, planDeploy } from '../../producers/deploy.js';
import { jsonBody } from '../body.js';
import { requires } from '../guard.js';
import { read } from '../request.js';
import { withinLongMs } from '../within.js';

/** What the code of this process declares, compared with what is stored, and made so. */
export function planRoutes(broker: Broker, input: DeployInput, emit: Emit): Router {
  const routes = Router();

  routes.get('/plan', requires('read'), async (_request, response) => {
    response.json(await withinLongMs(broker, planMs, () => planDeploy(broker, input)));
  });

  routes.post('/plan/apply', requires('admin'), jsonBody, async (request, response) => {
    const { yes: removeMany } = read(applyBody, request.body ?? {});
    response.json(await withinLongMs(broker, applyMs, () => deploy(broker, { ...input, removeMany }, emit)));
  });

  return routes;
}

/** Ten thousand schedules are read in a second or two, and written in some more, in ms. */
const planMs = 15_000;
const applyMs = 60_000;

/** What `POST /v1/plan/apply` takes. */
export const applyBody = z.strictObject({
  yes: z.boolean().default(false).describe("Remove schedules even where most of the app's would go"),
});
