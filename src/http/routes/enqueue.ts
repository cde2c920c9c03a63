import { type Request, Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { duration } from '../../duration.js';
import { type Problem, RondoError } from '../../errors.js';
import type { JobDefinition } from '../../jobs/define-job.js';
import type { Registry } from '../../jobs/registry.js';
import { problemsOf } from '../../problems.js';
import { type Deduplicate, deduplicationKey, deduplicationKeyWords } from '../../producers/deduplicate.js';
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

const yearMs = 365 * 86_400_000;

const deduplicate = z
  .strictObject({
    key: z.string().regex(deduplicationKey, deduplicationKeyWords),
    ttl: duration({ min: 1, max: yearMs }).optional(),
    mode: z.enum(['throttle', 'debounce']).default('throttle'),
  })
  .superRefine(({ mode, ttl }, context) => {
    if (mode !== 'debounce' || ttl !== undefined) return;
    context.addIssue({ code: 'custom', path: ['ttl'], message: 'how long to wait for the next, with mode "debounce"' });
  });

/** What `POST /v1/jobs/{job}/runs` takes, and each run of a bulk. */
export const enqueueBody = z
  .strictObject({
    payload: z.unknown().optional(),
    delay: duration({ max: yearMs }).optional(),
    at: z.iso.datetime({ offset: true, error: 'an ISO time with a zone, such as "2026-11-21T07:00:00Z"' }).optional(),
    priority: z.int().min(1).max(2_097_151).optional(),
    attempts: z.int().min(1).max(1_000).optional(),
    expiresIn: duration({ min: 1 }).optional(),
    deduplicate: deduplicate.optional(),
  })
  .superRefine(({ at, delay, deduplicate }, context) => {
    const refuse = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (at !== undefined && delay !== undefined) refuse('at', 'either delay or at, not both');
    if (deduplicate?.mode !== 'debounce') return;
    const without = 'none beside mode "debounce", whose ttl is the delay';
    if (delay !== undefined) refuse('delay', without);
    if (at !== undefined) refuse('at', without);
  });

/** What `POST /v1/jobs/{job}/runs/bulk` takes. */
export const bulkBody = z.strictObject({ runs: z.array(enqueueBody).min(1).max(5_000) });

type Enqueue = z.output<typeof enqueueBody>;

function itemOf({ payload, at, delay, deduplicate, ...rest }: Enqueue, now: number): BulkItem | { problem: Problem } {
  const later = at === undefined ? delay : Math.max(0, Date.parse(at) - now);
  if (later !== undefined && later > yearMs) {
    return { problem: { where: 'at', expected: 'a time within a year', got: JSON.stringify(at) } };
  }
  const by = deduplicate && { deduplicate: deduplicate as Deduplicate };
  return { payload, options: { ...rest, ...by, ...(later && { delay: later }) } };
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
