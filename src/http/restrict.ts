import type { NextFunction, Request, RequestHandler } from 'express';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import type { Registry } from '../jobs/registry.js';
import { isKnownJob } from '../producers/gone-jobs.js';
import { readStored } from '../producers/store.js';
import { findLedger } from '../producers/views.js';
import { jsonBody } from './body.js';
import { principalIn } from './guard.js';
import type { Principal } from './keys.js';
import { answerMs } from './request.js';
import { withinMs } from './within.js';

/**
 * Keeps a key that is for some jobs to them, whatever the route: what is not about one of its jobs is refused. Lists
 * leave out the others' by `Principal.mayUse`.
 */
export function restrictToJobs(broker: Broker, registry: Registry): RequestHandler {
  return async (request, response, next) => {
    const principal = principalIn(response);
    if (!principal?.restricted) return next();
    const [kind, name, ...rest] = request.path.split('/').slice(1).map(decodeURIComponent);
    if (kind === 'jobs') {
      if (name)
        await mayUseJob(principal, { broker, registry, job: name, isAboutRuns: isAboutRuns(request.method, rest) });
    } else if (kind !== 'schedules') throw forbidden(principal, 'what is about other jobs too');
    else if (name) {
      const job = await withinMs(answerMs, jobOfSchedule({ broker, registry, id: name, ticks: rest[0] === 'ticks' }));
      mayUseSchedule(principal, name, job, request.method === 'PUT');
    }
    if (kind !== 'schedules' || request.method !== 'PUT') return next();
    jsonBody(request, response, whereBodyFits({ principal, registry, request }, next));
  };
}

/** What can be asked about a job that is gone from code: its runs, and that one of them is cancelled. */
function isAboutRuns(method: string, [kind, , what]: readonly string[]): boolean {
  return kind === 'runs' && (method === 'GET' || what === 'cancel');
}

interface JobAsked {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly job: string;
  readonly isAboutRuns: boolean;
}

async function mayUseJob(principal: Principal, { broker, registry, job, isAboutRuns }: JobAsked): Promise<void> {
  if (!principal.mayUse(job)) throw forbidden(principal, job);
  const isKnown = isAboutRuns && (await withinMs(answerMs, isKnownJob(broker, registry, job)));
  if (!isKnown) mustBeDeclared(registry, job);
}

/** Without the nearest name, which may be another's. */
function mustBeDeclared(registry: Registry, job: string): void {
  if (!registry.find(job)) throw new RondoError('job-unknown', `"${job}"`);
}

interface ScheduleAsked {
  readonly broker: Broker;
  readonly registry: Registry;
  readonly id: string;
  /** Those of one that was removed can be read for a while. */
  readonly ticks: boolean;
}

/** Of one that is not there no nearest id is told, which may be another's. */
function mayUseSchedule(principal: Principal, id: string, job: string | null, mayBeNew: boolean): void {
  if (job !== null && !principal.mayUse(job)) throw forbidden(principal, `the schedule ${id}`);
  if (job === null && !mayBeNew) throw new RondoError('schedule-unknown', `"${id}"`);
}

async function jobOfSchedule({ broker, registry, id, ticks }: ScheduleAsked): Promise<string | null> {
  const stored = await readStored(broker, id);
  if (stored) return stored.specification.job;
  const declared = registry.findSchedule(id)?.job.name;
  if (declared || !ticks) return declared ?? null;
  const known = registry.jobs.map(({ name }) => name);
  return findLedger(broker, id, known).then(
    ({ job }) => job,
    () => null,
  );
}

interface BodyAsked {
  readonly principal: Principal;
  readonly registry: Registry;
  readonly request: Request;
}

/** A schedule may be put for the key's own jobs alone. */
function whereBodyFits({ principal, registry, request }: BodyAsked, next: NextFunction): NextFunction {
  return (error?: unknown) => {
    const job: unknown = request.body?.job;
    if (error !== undefined || typeof job !== 'string') return next(error);
    try {
      if (!principal.mayUse(job)) throw forbidden(principal, job);
      mustBeDeclared(registry, job);
      next();
    } catch (refused) {
      next(refused);
    }
  };
}

function forbidden({ name }: Principal, what: string): RondoError {
  return new RondoError('forbidden', `"${name}" is not for ${what}`);
}
