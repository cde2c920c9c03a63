import { ErrorCode } from 'bullmq';
import { type Broker, forgetPast, noteBegun } from '../broker/queues.js';
import { codeInStack, RondoError } from '../errors.js';
import { type JobDefinition, mustBeEnabled } from '../jobs/define-job.js';
import { findRun } from './runs.js';

export interface RedriveOptions {
  /** Only runs that failed with this code: `run-quarantined`, `payload-invalid`. Unless told, all but cancelled ones. */
  readonly code?: string;
  /** At most so many, those that failed first. */
  readonly limit?: number;
  /** Only runs that failed no later, in ms since the epoch: pages of one redrive pass over what failed again meanwhile. */
  readonly before?: number | undefined;
}

export interface Redriven {
  readonly redriven: number;
  /** How many runs of the job are failed still, whatever their code. */
  readonly failed: number;
}

/**
 * Lets a run that failed begin anew, as if it had never started: attempts and crashes count from nothing. Its tick is
 * the same.
 *
 * @throws RondoError `run-unknown`, `run-not-failed`, or `job-disabled`
 */
export async function retryRun(broker: Broker, job: JobDefinition, id: string): Promise<void> {
  mustBeEnabled(job);
  const { state } = await findRun(broker, job, id);
  if (state !== 'failed' || !(await beginAnew(broker, job.name, id))) {
    throw new RondoError('run-not-failed', `${job.name} ${id} is ${state === 'failed' ? 'failed no longer' : state}`);
  }
}

/**
 * Does so with all runs of a job that have failed, or with some, oldest first. Runs that fail meanwhile stay.
 *
 * @throws RondoError `job-disabled`
 */
export async function redrive(
  broker: Broker,
  job: JobDefinition,
  { code, limit = Number.POSITIVE_INFINITY, before }: RedriveOptions = {},
): Promise<Redriven> {
  mustBeEnabled(job);
  const queue = broker.queue(job.name);
  const failed = queue.toKey('failed');
  // What fails again while we are at it comes behind these: nothing is redriven twice.
  const last = before ?? '+inf';
  let unseen = await broker.client.zcount(failed, '-inf', last);
  let kept = 0;
  let redriven = 0;
  while (unseen > 0 && redriven < limit) {
    const size = Math.min(unseen, batchSize);
    const ids = await broker.client.zrangebyscore(failed, '-inf', last, 'LIMIT', kept, size);
    if (ids.length === 0) break;
    unseen -= ids.length;
    const wanted = await wantedOf(broker, job.name, ids, code);
    const chosen = wanted.slice(0, limit - redriven);
    const begun = await Promise.all(chosen.map((id) => beginAnew(broker, job.name, id)));
    const moved = begun.filter(Boolean).length;
    redriven += moved;
    kept += ids.length - chosen.length;
  }
  return { redriven, failed: await broker.client.zcard(failed) };
}

const batchSize = 500;

/** When the run of a job that failed last did so, in ms since the epoch by its worker's clock; null where none has. */
export async function lastFailure(broker: Broker, job: string): Promise<number | null> {
  const [, time] = await broker.client.zrange(broker.queue(job).toKey('failed'), '-1', '-1', 'WITHSCORES');
  return time === undefined ? null : Number(time);
}

/** @returns whether it was we who moved it: two may be at it */
async function beginAnew(broker: Broker, job: string, id: string): Promise<boolean> {
  const run = await broker.queue(job).getJob(id);
  if (!run) return false;
  await forgetPast(broker, job, id);
  await noteBegun(broker, job, id);
  try {
    await run.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
    return true;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === ErrorCode.JobNotInState || code === ErrorCode.JobNotExist) return false;
    throw error;
  }
}

/** Of these runs those that failed with the code. What somebody cancelled is redriven by that code alone. */
async function wantedOf(broker: Broker, job: string, ids: readonly string[], code?: string): Promise<string[]> {
  const queue = broker.queue(job);
  const runs = await Promise.all(ids.map((id) => queue.getJob(id)));
  const codes = runs.map((run) => codeInStack(run?.stacktrace?.at(-1)));
  return ids.filter((_, index) => (code === undefined ? codes[index] !== 'run-cancelled' : codes[index] === code));
}
