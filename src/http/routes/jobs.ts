import { Router } from 'express';
import { detailsOf } from '../../jobs/describe.js';
import type { Registry } from '../../jobs/registry.js';
import { requires } from '../guard.js';

/** What can run. */
export function jobRoutes(registry: Registry): Router {
  const routes = Router();
  routes.get('/jobs', requires('read'), (_request, response) => {
    response.json({ jobs: registry.jobs.map(detailsOf) });
  });
  routes.get('/jobs/:job', requires('read'), (request, response) => {
    response.json(detailsOf(registry.get(String(request.params.job))));
  });
  return routes;
}
