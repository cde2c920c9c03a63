import { type Request, Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { type Problem, RondoError } from '../../errors.js';
import type { JobDefinition } from '../../jobs/define-job.js';
import { enqueueFields, enqueueOptions, refuseTwoTimes } from '../../jobs/enqueue-options.js';
import type { Registry } from '../../jobs/registry.js';
import { problemsOf } from '../../problems.js';
import { type BulkItem, bulkRefused, enqueueBulk, enqueueRun, payloadProblems } from '../../producers/enqueue.js';
import { jsonBody, jsonBodyUpTo } from '../body.js';
import { requires } from '../guard.js';
import { answerOnce } from '../idempotent.js';
import { answerMs, nameIn, read } from '../request.js';
import { withinMs } from '../within.js';

/** What puts runs into the queue of a job: one, or thousands. */
export function enqueueRoutes(broker: Broker, registry: Registry, now: () => number): Router {
  const routes = Router();
  const once = answerOnce(broker);

  routes.post('/jobs/:job/runs', requires('enqueue'), jsonBody, (request, response) => {
    const job = jobIn(request, registry);
    const item = itemOf(read(enqueueBody, request.body ?? {}), now());
    if ('problem' in item) throw new RondoError('request-invalid', '', { problems: [item.problem] });
    return once(request, response, async (ticket) => {
      const { id, deduplicated } = await withinMs(answerMs, enqueueRun(broker, job, item, ticket));
      const url = `/v1/jobs/${job.name}/runs/${encodeURIComponent(id)}`;
      const answer = { id, job: job.name, url, ...(deduplicated && { deduplicated }) };
      return { status: 202, location: url, body: JSON.stringify(answer) };
    });
  });

  routes.post('/jobs/:job/runs/bulk', requires('enqueue'), jsonBodyUpTo('10mb'), (request, response) => {
    const job = jobIn(request, registry);
    const items = readBulk(job, request.body ?? {}, now());
    return once(request, response, async (ticket) => {
      // Each call to Redis, for a thousand of them, by itself.
      const bounded = <Found>(work: Promise<Found>) => withinMs(answerMs, work);
      const added = await enqueueBulk(broker, job, items, { ticket, bounded });
      const runs = added.map(({ id, deduplicated }) => (deduplicated ? { id, deduplicated } : { id }));
      return { status: 202, location: null, body: JSON.stringify({ job: job.name, runs }) };
    });
  });

  return routes;
}

/** What `POST /v1/jobs/{job}/runs` takes, and each run of a bulk. */
export const enqueueBody = z
  .strictObject({ payload: z.unknown().optional(), ...enqueueFields })
  .superRefine(refuseTwoTimes);

/** What `POST /v1/jobs/{job}/runs/bulk` takes. */
export const bulkBody = z.strictObject({ runs: z.array(enqueueBody).min(1).max(5_000) });

type Enqueue = z.output<typeof enqueueBody>;

function itemOf({ payload, ...rest }: Enqueue, now: number): BulkItem | { problem: Problem } {
  const found = enqueueOptions(rest, now);
  return 'problem' in found ? found : { payload, options: found.options };
}

/**
 * All or nothing: whatever is wrong anywhere is said at once.
 *
 * @throws RondoError `request-invalid`
 */
function readBulk(job: JobDefinition, body: unknown, now: number): BulkItem[] {
  const found = bulkBody.safeParse(body);
  const { runs: given } = body as { runs?: unknown };
  if (!found.success) {
    const problems = problemsOf(found.error, body, { known: (path) => knownAt[path.length] ?? [] });
    const runs: unknown[] = Array.isArray(given) && given.length <= 5_000 ? given : [];
    if (runs.length === 0) throw new RondoError('request-invalid', '', { problems });
    const payloads = runs.flatMap((it, index) => (isObject(it) ? payloadProblems(job, it.payload, index) : []));
    throw bulkRefused([...problems, ...payloads], runs.length);
  }
  const items = found.data.runs.map((run) => itemOf(run, now));
  const late = items.flatMap((item, index) =>
    'problem' in item ? [{ ...item.problem, where: `runs[${index}].${item.problem.where}` }] : [],
  );
  if (late.length === 0) return items as BulkItem[];
  const payloads = found.data.runs.flatMap(({ payload }, index) => payloadProblems(job, payload, index));
  throw bulkRefused([...late, ...payloads], items.length);
}

/** The names that are understood in the body, and in a run of it. */
const knownAt: Record<number, readonly string[]> = { 0: ['runs'], 2: Object.keys(enqueueBody.shape) };

function isObject(value: unknown): value is { readonly payload?: unknown } {
  return typeof value === 'object' && value !== null;
}

function jobIn(request: Request, registry: Registry): JobDefinition {
  return registry.get(nameIn(request, 'job'));
}
