import type { Request, Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { duration } from '../../duration.js';
import { type ErrorCode, errorTable } from '../../errors.js';
import type { Emit } from '../../jobs/events.js';
import type { Registry } from '../../jobs/registry.js';
import { cancel } from '../../producers/cancel.js';
import { definitionOf, knownJob } from '../../producers/gone-jobs.js';
import { pageOfRuns } from '../../producers/run-pages.js';
import { runStates } from '../../producers/run-view.js';
import type { RunWatch } from '../../producers/run-watch.js';
import { findRun, readRedactor } from '../../producers/runs.js';
import { principalIn, requires } from '../guard.js';
import { answerMs, nameIn, read } from '../request.js';
import { untilEnded } from '../wait.js';
import { withinMs } from '../within.js';
import { enqueueRoutes } from './enqueue.js';

export interface RunRoutesInput {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly emit: Emit;
  readonly now: () => number;
  readonly watch: RunWatch;
}

/**
 * Runs of a job: enqueue and list them, look at one or wait for it, cancel it. All but the first also of a job that is
 * gone from code.
 */
export function runRoutes({ broker, registry, emit, now, watch }: RunRoutesInput): Router {
  // One router for what shares its addresses, which answers for all methods of them.
  const routes = enqueueRoutes(broker, registry, now);
  const jobIn = (request: Request) => withinMs(answerMs, knownJob(broker, registry, nameIn(request, 'job')));

  routes.get('/jobs/:job/runs', requires('read'), async (request, response) => {
    const job = await jobIn(request);
    const query = { job: job.name, definition: definitionOf(job), ...read(listQuery, request.query) };
    response.json(await withinMs(answerMs, pageOfRuns(broker, query)));
  });

  routes.get('/jobs/:job/runs/:id', requires('read'), async (request, response) => {
    const job = await jobIn(request);
    const id = nameIn(request, 'id');
    const { wait: waitMs } = read(runQuery, request.query);
    const look = () => withinMs(answerMs, findRun(broker, job, id));
    if (!waitMs) return void response.json(await look());
    const redactor = await withinMs(answerMs, readRedactor(broker, job, id));
    response.json(await untilEnded({ watch, job: job.name, id, look, redactor, waitMs, response }));
  });

  routes.post('/jobs/:job/runs/:id/cancel', requires('operate'), async (request, response) => {
    const { name } = await jobIn(request);
    const id = nameIn(request, 'id');
    const by = principalIn(response)?.name ?? 'unknown';
    const cancelled = await withinMs(answerMs, cancel(broker, name, id, { by, now }, emit));
    response.status(202).json({ id, job: name, cancelled });
  });

  return routes;
}

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]];

/** What `GET /v1/jobs/{job}/runs` takes. */
export const listQuery = z.strictObject({
  state: z.enum(runStates).optional(),
  schedule: z.string().min(1).max(64).optional(),
  code: z.enum(codes, { error: 'the code of an error, such as "run-quarantined"' }).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(20),
  cursor: z.string().max(16_000).optional(),
});

/** What `GET /v1/jobs/{job}/runs/{id}` takes. */
export const runQuery = z.strictObject({ wait: z.preprocess(digitsAsNumber, duration({ max: 60_000 })).optional() });

/** An address knows no numbers. */
function digitsAsNumber(text: unknown): unknown {
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text;
}
