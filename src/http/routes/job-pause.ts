import { Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import type { Registry } from '../../jobs/registry.js';
import { pauseJob, resumeJob } from '../../producers/job-pause.js';
import { jsonBody } from '../body.js';
import { principalIn, requires } from '../guard.js';
import { answerMs, nameIn, read } from '../request.js';
import { withinMs } from '../within.js';

/** Stops a job's queue, and lets it go on. */
export function jobPauseRoutes(broker: Broker, registry: Registry, now: () => number): Router {
  const routes = Router();

  routes.post('/jobs/:job/pause', requires('operate'), jsonBody, async (request, response) => {
    const { name } = registry.get(nameIn(request, 'job'));
    const { note } = read(pauseJobBody, request.body ?? {});
    const by = principalIn(response)?.name ?? 'unknown';
    response.json({ job: name, paused: await withinMs(answerMs, pauseJob(broker, name, { by, note, now: now() })) });
  });

  routes.post('/jobs/:job/resume', requires('operate'), jsonBody, async (request, response) => {
    const { name } = registry.get(nameIn(request, 'job'));
    read(resumeJobBody, request.body ?? {});
    response.json({ job: name, resumed: await withinMs(answerMs, resumeJob(broker, name)) });
  });

  return routes;
}

/** What `POST /v1/jobs/{job}/pause` takes. */
export const pauseJobBody = z.strictObject({ note: z.string().max(1_000).default('') });

/** What `POST /v1/jobs/{job}/resume` takes: nothing. */
export const resumeJobBody = z.strictObject({});
