import { Router } from 'express';
import type { Broker } from '../../broker/queues.js';
import { withinMs } from '../within.js';

/** For those who restart and route: neither wants a key. */
export function healthRoutes(broker: Broker): Router {
  const routes = Router();
  routes.get('/livez', (_request, response) => {
    response.json({ status: 'alive' });
  });
  routes.get('/readyz', async (_request, response) => {
    const reason = await redisTrouble(broker);
    const redis = reason === null ? { status: 'ready' } : { status: 'unready', reason };
    response.status(reason === null ? 200 : 503).json({ status: redis.status, parts: { redis } });
  });
  return routes;
}

async function redisTrouble({ client }: Broker): Promise<string | null> {
  try {
    await withinMs(1_000, client.ping());
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
