import { Router } from 'express';
import { RondoError } from '../../errors.js';
import { principalIn, requires } from '../guard.js';

/** What `/metrics` answers, from whoever keeps the process's metrics. */
export type ReadMetrics = () => Promise<{ readonly contentType: string; readonly text: string }>;

/** For Prometheus. It tells what jobs there are, and wants the scope that lists them, of a key that is for all of them. */
export function metricsRoutes(read: ReadMetrics): Router {
  const routes = Router();
  routes.get('/metrics', requires('read'), async (_request, response) => {
    const principal = principalIn(response);
    if (principal?.restricted)
      throw new RondoError('forbidden', `"${principal.name}" may not ask about other jobs too`);
    const { contentType, text } = await read();
    response.set('Content-Type', contentType).set('Cache-Control', 'no-store').send(text);
  });
  return routes;
}
