import { Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { duration } from '../../duration.js';
import { RondoError } from '../../errors.js';
import type { Registry } from '../../jobs/registry.js';
import { cancel, type EnqueueOptions, enqueue, findRun, listRuns, runStates } from '../../producers/runs.js';
import { jsonBody } from '../body.js';
import { principalIn, requires } from '../guard.js';
import { answerMs, nameIn, read } from '../request.js';
import { withinMs } from '../within.js';

/** Runs of a job: enqueue one, look at one, list them. */
export function runRoutes(broker: Broker, registry: Registry, now: () => number): Router {
  const routes = Router();

  routes.post('/jobs/:job/runs', requires('enqueue'), jsonBody, async (request, response) => {
    const job = registry.get(nameIn(request, 'job'));
    const { payload, ...options } = read(enqueueBody, request.body ?? {});
    const id = await withinMs(answerMs, enqueue(broker, job, payload, optionsOf(options, now())));
    const url = `/v1/jobs/${job.name}/runs/${encodeURIComponent(id)}`;
    // Node.js's own words: Express's would look for a type, a charset and a tag first.
    response.writeHead(202, { 'Content-Type': 'application/json; charset=utf-8', Location: url });
    response.end(JSON.stringify({ id, job: job.name, url }));
  });

  routes.get('/jobs/:job/runs', requires('read'), async (request, response) => {
    const { name } = registry.get(nameIn(request, 'job'));
    const { state, limit } = read(listQuery, request.query);
    response.json({ runs: await withinMs(answerMs, listRuns(broker, registry, { job: name, state, limit })) });
  });

  routes.get('/jobs/:job/runs/:id', requires('read'), async (request, response) => {
    const job = registry.get(nameIn(request, 'job'));
    response.json(await withinMs(answerMs, findRun(broker, job, nameIn(request, 'id'))));
  });

  routes.post('/jobs/:job/runs/:id/cancel', requires('operate'), async (request, response) => {
    const { name } = registry.get(nameIn(request, 'job'));
    const id = nameIn(request, 'id');
    const by = principalIn(response)?.name ?? 'unknown';
    response.status(202).json({ id, job: name, cancelled: await withinMs(answerMs, cancel(broker, name, id, by)) });
  });

  return routes;
}

const yearMs = 365 * 86_400_000;

const enqueueBody = z.strictObject({
  payload: z.unknown().optional(),
  delay: duration({ max: yearMs }).optional(),
  at: z.iso.datetime({ offset: true, error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' }).optional(),
  priority: z.int().min(1).max(2_097_151).optional(),
  attempts: z.int().min(1).max(1_000).optional(),
  expiresIn: duration({ min: 1 }).optional(),
});

const listQuery = z.strictObject({
  state: z.enum(runStates).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(20),
});

function optionsOf({ at, delay, ...rest }: Omit<z.output<typeof enqueueBody>, 'payload'>, now: number): EnqueueOptions {
  const refuseAt = (expected: string) => {
    throw new RondoError('request-invalid', '', { problems: [{ where: 'at', expected, got: JSON.stringify(at) }] });
  };
  if (at !== undefined && delay !== undefined) refuseAt('either delay or at, not both');
  const later = at === undefined ? delay : Math.max(0, Date.parse(at) - now);
  if (later !== undefined && later > yearMs) refuseAt('a time within a year');
  return { ...rest, ...(later && { delay: later }) };
}
