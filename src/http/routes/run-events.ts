import { Router } from 'express';
import type { Broker } from '../../broker/queues.js';
import type { Registry } from '../../jobs/registry.js';
import { knownJob } from '../../producers/gone-jobs.js';
import type { RunWatch } from '../../producers/run-watch.js';
import { findRun, readRedactor } from '../../producers/runs.js';
import { requires } from '../guard.js';
import { answerMs, nameIn } from '../request.js';
import { streamRun } from '../run-stream.js';
import { withinMs } from '../within.js';

/** What happens to a run, as it happens. */
export function runEventRoutes(broker: Broker, registry: Registry, watch: RunWatch): Router {
  const routes = Router();
  routes.get('/jobs/:job/runs/:id/events', requires('read'), async (request, response) => {
    const job = await withinMs(answerMs, knownJob(broker, registry, nameIn(request, 'job')));
    const id = nameIn(request, 'id');
    const seen = request.get('Last-Event-ID') ?? null;
    // What the browser's own reader takes for the end; anything else it comes back from.
    if (seen?.endsWith('.end')) return void response.status(204).end();
    const look = () => withinMs(answerMs, findRun(broker, job, id));
    const redactor = await withinMs(answerMs, readRedactor(broker, job, id));
    if (request.method === 'HEAD') return void response.type('text/event-stream').end();
    await streamRun({ broker, watch, job: job.name, id, look, redactor, after: seen, response });
  });
  return routes;
}
