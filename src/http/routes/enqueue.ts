import { type Request, Router } from 'express';
import { z } from 'zod';
import type { Broker } from '../../broker/queues.js';
import { type Problem, RondoError } from '../../errors.js';
import type { JobDefinition } from '../../jobs/define-job.js';
import { enqueueFields, enqueueOptions, refuseTwoTimes } from '../../jobs/enqueue-options.js';
import type { Registry } from '../../jobs/registry.js';
import { hidden } from '../../jobs/secrets.js';
import { problemsOf } from '../../problems.js';
import {
  type BulkItem,
  bulkRefused,
  enqueueBulk,
  enqueueRun,
  mostInBulk,
  mostOfRun,
  payloadProblems,
} from '../../producers/enqueue.js';
import { jsonBody, jsonBodyUpTo } from '../body.js';
import { requires } from '../guard.js';
import { answerOnce } from '../idempotent.js';
import { answerMs, gotBeside, nameIn, read } from '../request.js';
import { withinMs } from '../within.js';

/** What puts runs into the queue of a job: one, or thousands. */
export function enqueueRoutes(broker: Broker, registry: Registry, now: () => number): Router {
  const routes = Router();
  const once = answerOnce(broker);

  // All is judged within `once`: what was answered is answered again, also by a release that would refuse it.
  routes.post('/jobs/:job/runs', requires('enqueue'), jsonBody, (request, response) =>
    once(request, response, async (ticket) => {
      const job = jobIn(request, registry);
      const item = itemOf(read(enqueueBody, request.body ?? {}), now());
      if ('problem' in item) throw new RondoError('request-invalid', '', { problems: [item.problem] });
      const { id, deduplicated } = await withinMs(answerMs, enqueueRun(broker, job, item, ticket));
      const url = `/v1/jobs/${job.name}/runs/${encodeURIComponent(id)}`;
      const answer = { id, job: job.name, url, ...(deduplicated && { deduplicated }) };
      return { status: 202, location: url, body: JSON.stringify(answer) };
    }),
  );

  routes.post('/jobs/:job/runs/bulk', requires('enqueue'), jsonBodyUpTo('10mb'), (request, response) =>
    once(request, response, async (ticket) => {
      const job = jobIn(request, registry);
      const items = readBulk(job, request.body ?? {}, now());
      // Each call to Redis, for a thousand of them, by itself.
      const bounded = <Found>(work: Promise<Found>) => withinMs(answerMs, work);
      const added = await enqueueBulk(broker, job, items, { ticket, bounded });
      const runs = added.map(({ id, deduplicated }) => (deduplicated ? { id, deduplicated } : { id }));
      return { status: 202, location: null, body: JSON.stringify({ job: job.name, runs }) };
    }),
  );

  return routes;
}

/** What `POST /v1/jobs/{job}/runs` takes, and each run of a bulk. */
export const enqueueBody = z
  .strictObject({ payload: z.unknown().optional(), ...enqueueFields })
  .superRefine(refuseTwoTimes);

/** What `POST /v1/jobs/{job}/runs/bulk` takes. */
export const bulkBody = z.strictObject({ runs: z.array(enqueueBody).min(1).max(mostInBulk) });

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
  const { runs: given } = body as { runs?: unknown };
  const runs: readonly unknown[] = Array.isArray(given) ? given : [];
  // Before the schema, which would find fault with each of millions.
  if (runs.length > mostInBulk) throw tooMany(runs.length);
  const found = bulkBody.safeParse(body);
  const items = found.success ? found.data.runs.map((run) => itemOf(run, now)) : [];
  if (found.success && items.every((item) => !('problem' in item))) return items as BulkItem[];
  const outside = found.success ? [] : problemsBeside(job, found.error.issues, body);
  if (runs.length === 0) throw new RondoError('request-invalid', '', { problems: outside });
  throw bulkRefused([...outside, ...runs.flatMap((run, index) => problemsOfRun(job, run, index, now))], runs.length);
}

function tooMany(count: number): RondoError {
  const problems = [{ where: 'runs', expected: `at most ${mostInBulk} items`, got: `${count} items` }];
  return new RondoError('request-invalid', '', { problems });
}

/** What is wrong with the body, leaving aside what is wrong with a run. */
function problemsBeside(job: JobDefinition, issues: readonly z.core.$ZodIssue[], body: unknown): Problem[] {
  const known = () => ['runs'];
  const got = (path: readonly PropertyKey[], isUnknown: boolean) =>
    isUnknown ? gotBeside(known)(path, isUnknown) : withheld(job);
  return problemsOf({ issues: issues.filter(({ path }) => path.length < 2) }, body, { known, got });
}

function problemsOfRun(job: JobDefinition, run: unknown, index: number, now: number): Problem[] {
  const at = `runs[${index}]`;
  const payload = isObject(run) ? payloadProblems(job, run.payload, index) : [];
  const found = enqueueBody.safeParse(run);
  if (!found.success) {
    const known = (path: readonly PropertyKey[]) => (path.length === 0 ? Object.keys(enqueueBody.shape) : []);
    const got = (path: readonly PropertyKey[], isUnknown: boolean) => {
      if (isUnknown) return gotBeside(known)(path, isUnknown);
      return path.length === 0 ? withheld(job) : null;
    };
    return [...problemsOf(found.error, run, { at, known, got, most: mostOfRun }), ...payload];
  }
  const item = itemOf(found.data, now);
  return 'problem' in item ? [{ ...item.problem, where: `${at}.${item.problem.where}` }, ...payload] : payload;
}

/** What stands where a run should be, or the list of them, may be a payload. */
function withheld({ secret }: JobDefinition): string | null {
  return secret.length > 0 ? hidden : null;
}

function isObject(value: unknown): value is { readonly payload?: unknown } {
  return typeof value === 'object' && value !== null;
}

function jobIn(request: Request, registry: Registry): JobDefinition {
  return registry.get(nameIn(request, 'job'));
}
