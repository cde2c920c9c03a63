import type { RequestHandler, Response } from 'express';
import { rateLimit } from 'express-rate-limit';
import type { Broker } from '../broker/queues.js';
import type { RateLimit } from '../config.js';
import { formatDuration } from '../duration.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import { createCounter } from './counters.js';
import { principalIn } from './guard.js';

const tellEveryMs = 10_000;

/** So many requests a window for each key, counted over all api processes. While Redis is away nobody counts. */
export function limitKeys(broker: Broker, { max, perMs }: RateLimit, emit: Emit): RequestHandler {
  let toldAt = Number.NEGATIVE_INFINITY;
  const tell = (error: unknown) => {
    if (performance.now() - toldAt < tellEveryMs) return;
    toldAt = performance.now();
    emit({ type: 'limits.uncounted', reason: String(error) });
  };
  return rateLimit({
    windowMs: perMs,
    limit: max,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    identifier: 'key',
    keyGenerator: (_request, response) => String(principalIn(response as Response)?.name),
    store: createCounter(broker, 'key'),
    passOnStoreError: true,
    logger: { error: tell, warn: tell },
    handler: (_request, response, next) => {
      const name = principalIn(response as Response)?.name;
      next(new RondoError('rate-limited', `"${name}" may make ${max} in ${formatDuration(perMs)}`));
    },
  });
}
