import { Router } from 'express';
import type { Readiness } from '../readiness.js';

/** For those who restart and route: neither wants a key. */
export function healthRoutes(readiness: () => Promise<Readiness>): Router {
  const routes = Router();
  routes.get('/livez', (_request, response) => {
    response.json({ status: 'alive' });
  });
  routes.get('/readyz', async (_request, response) => {
    const found = await readiness();
    response.status(found.status === 'ready' ? 200 : 503).json(found);
  });
  return routes;
}
