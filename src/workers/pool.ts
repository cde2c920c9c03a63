import { type Job, WaitingError, Worker } from 'bullmq';
import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Emit } from '../jobs/events.js';
import { retryDelay } from '../jobs/retry.js';
import { until } from '../lifecycle.js';
import { ActiveRun, factsOf } from './active-run.js';
import { createErrorReport } from './error-report.js';
import { abortGraceMs, execute } from './execute.js';
import { codeOf } from './outcome.js';

export interface PoolInput {
  readonly broker: Broker;
  readonly jobs: readonly JobDefinition[];
  readonly emit: Emit;
  readonly now: () => number;
  readonly random: () => number;
}

/** How long a run stays its worker's without a sign of life; half of it is how often one is given. In ms. */
const lockMs = 30_000;
/** How often somebody looks for runs whose worker gave none, in ms. */
const stalledCheckMs = 5_000;
/** How often a run may take its process down, or be lost with it, before it is failed for good. */
const maxStalls = 3;
/** How long putting back what was interrupted may take, in ms, beyond the deadline. */
const putBackMs = 3_000;

/** The worker role: a BullMQ worker for each job, each with a concurrency of its own. */
export function createPool({ broker, jobs, emit, now, random }: PoolInput) {
  const active = new Set<ActiveRun>();
  const runs = new WeakMap<Job, ActiveRun>();
  const workers: Worker[] = [];

  function work(definition: JobDefinition): Worker {
    const { name, retry, rateLimit } = definition;

    // Two parameters, not three: BullMQ would make an AbortController for each run.
    const processor = async (job: Job, token?: string): Promise<unknown> => {
      const run = new ActiveRun(job, token, definition, emit);
      runs.set(job, run);
      active.add(run);
      try {
        return await execute(run, now());
      } catch (error) {
        if (error instanceof WaitingError) emit({ type: 'run.interrupted', durationMs: run.durationMs, ...run.facts });
        throw error;
      } finally {
        active.delete(run);
      }
    };

    const worker = new Worker(name, processor, {
      connection: broker.client,
      prefix: broker.keys.queuePrefix(name),
      concurrency: definition.concurrency,
      ...(rateLimit && { limiter: { max: rateLimit.max, duration: rateLimit.per } }),
      lockDuration: lockMs,
      stalledInterval: stalledCheckMs,
      maxStalledCount: maxStalls,
      runRetryDelay: 1_000,
      settings: {
        repeatStrategy: broker.repeatStrategy,
        backoffStrategy: (failed, _type, _error, job) => {
          const delay = retryDelay(failed, retry, random);
          const run = job && runs.get(job as Job);
          if (run) run.retryInMs = delay;
          return delay;
        },
      },
    });

    worker.on('completed', reportEnd);
    worker.on('failed', (job, error) => job && reportFailure(job, error));
    worker.on('lockRenewalFailed', (ids) => loseLocks(name, ids));
    worker.on(
      'error',
      createErrorReport((error, times) => emit({ type: 'worker.error', job: name, error, times })),
    );
    return worker;
  }

  function reportEnd(job: Job): void {
    const run = runs.get(job);
    if (run?.outcome?.type === 'skipped') emit({ type: 'run.skipped', reason: run.outcome.reason, ...run.facts });
    else if (run) emit({ type: 'run.succeeded', durationMs: run.durationMs, ...run.facts });
  }

  /** Also told of runs that never reached us: BullMQ fails those that took too many workers down. */
  function reportFailure(job: Job, error: Error): void {
    const run = runs.get(job);
    emit({
      type: 'run.failed',
      durationMs: run?.durationMs ?? 0,
      code: codeOf(error),
      reason: error.message,
      error,
      retryInMs: job.finishedOn ? null : (run?.retryInMs ?? 0),
      ...(run?.facts ?? factsOf(job)),
    });
  }

  function loseLocks(name: string, ids: readonly string[]): void {
    for (const run of active) {
      if (run.definition.name !== name || !ids.includes(run.facts.run)) continue;
      const error = new RondoError('run-lock-lost', `${name} ${run.facts.run}`);
      run.stop({ type: 'lock-lost', error }, error, abortGraceMs);
      emit({ type: 'run.lock-lost', ...run.facts });
    }
  }

  function interrupt(run: ActiveRun): void {
    const error = new RondoError('run-interrupted', `${run.facts.job} ${run.facts.run}`);
    run.stop({ type: 'interrupted' }, error, abortGraceMs);
  }

  return {
    name: 'worker',
    async start() {
      workers.push(...jobs.map(work));
      await Promise.all(workers.map((worker) => worker.waitUntilReady()));
    },
    /** No new runs from now on; those that run may finish until the deadline, and are put back then. */
    async stop(deadline: number) {
      const closed = Promise.all(workers.map((worker) => worker.close()));
      await Promise.race([closed, until(deadline)]);
      for (const run of active) interrupt(run);
      await Promise.race([closed, until(Date.now() + abortGraceMs + putBackMs)]);
    },
  };
}
