import { Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { type ErrorCode, errorTable } from '../../errors.js';
import type { Registry } from '../../jobs/registry.js';
import { lastFailure, redrive, retryRun } from '../../producers/redrive.js';
import { jsonBody } from '../body.js';
import { requires } from '../guard.js';
import { read } from '../request.js';
import { withinLongMs, withinMs } from '../within.js';

/** Runs that failed begin anew: one, or those of a job. */
export function redriveRoutes(broker: Broker, registry: Registry): Router {
  const routes = Router();

  routes.post('/jobs/:job/runs/:id/retry', requires('operate'), async (request, response) => {
    const job = registry.get(String(request.params.job));
    const id = String(request.params.id);
    await withinMs(answerMs, retryRun(broker, job, id));
    response.status(202).json({ id, job: job.name, url: `/v1/jobs/${job.name}/runs/${encodeURIComponent(id)}` });
  });

  routes.post('/jobs/:job/redrive', requires('operate'), jsonBody, async (request, response) => {
    const job = registry.get(String(request.params.job));
    const options = read(redriveBody, request.body ?? {});
    const before = options.before ?? (await withinMs(answerMs, lastFailure(broker, job.name)));
    const done = await withinLongMs(broker, redriveMs, () =>
      redrive(broker, job, { ...options, before: before ?? undefined }),
    );
    response.json({ job: job.name, ...done, before: before === null ? null : new Date(before).toISOString() });
  });

  return routes;
}

/** A caller waits no longer than this for Redis, in ms. */
const answerMs = 1_500;
/** Thousands at once take their time. */
const redriveMs = 15_000;

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]];

export const redriveBody = z.strictObject({
  code: z.enum(codes, { error: 'the code of an error, such as "run-quarantined"' }).optional(),
  limit: z.int().min(1).max(5_000).default(1_000),
  /** What an earlier page answered: what has failed since is passed over. */
  before: z.iso
    .datetime({ offset: true, error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' })
    .transform((text) => Date.parse(text))
    .optional(),
});
