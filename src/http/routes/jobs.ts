import { Router } from 'express';
import type { Broker } from '../../broker/queues.js';
import type { JobDefinition } from '../../jobs/define-job.js';
import { detailsOf } from '../../jobs/describe.js';
import type { Registry } from '../../jobs/registry.js';
import { listGone } from '../../producers/gone-jobs.js';
import { readJobPause } from '../../producers/job-pause.js';
import type { Deployment } from '../../producers/schedules.js';
import { principalIn, requires } from '../guard.js';
import { answerMs, nameIn } from '../request.js';
import { withinMs } from '../within.js';

/** What can run, and what could once. */
export function jobRoutes(broker: Broker, registry: Registry, { app }: Deployment): Router {
  const routes = Router();
  routes.get('/jobs', requires('read'), async (_request, response) => {
    const mine = registry.jobs.filter(({ name }) => principalIn(response)?.mayUse(name));
    response.json({ jobs: await withPauses(mine) });
  });
  routes.get('/jobs/:job', requires('read'), async (request, response) => {
    const [job] = await withPauses([registry.get(nameIn(request, 'job'))]);
    response.json(job);
  });
  routes.get('/gone-jobs', requires('read'), async (_request, response) => {
    response.json({ jobs: await withinMs(answerMs, listGone(broker, registry, app)) });
  });
  return routes;

  /** All but this is known without Redis: while that is away `paused` is missing. */
  async function withPauses(jobs: readonly JobDefinition[]) {
    const asked = Promise.all(jobs.map(({ name }) => readJobPause(broker, name)));
    const pauses = await withinMs(askMs, asked).catch(() => []);
    return jobs.map((job, index) => ({ ...detailsOf(job), paused: pauses[index] }));
  }
}

/** In ms. */
const askMs = 1_000;
