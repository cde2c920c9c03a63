import { Router } from 'express';
import { detailsOf } from '../../jobs/describe.js';
import type { Registry } from '../../jobs/registry.js';
import { principalIn, requires } from '../guard.js';

/** What can run. */
export function jobRoutes(registry: Registry): Router {
  const routes = Router();
  routes.get('/jobs', requires('read'), (_request, response) => {
    const mine = registry.jobs.filter(({ name }) => principalIn(response)?.mayUse(name));
    response.json({ jobs: mine.map(detailsOf) });
  });
  routes.get('/jobs/:job', requires('read'), (request, response) => {
    response.json(detailsOf(registry.get(String(request.params.job))));
  });
  return routes;
}
