import { mostLetters, type Running, type RunningRun } from '../broker/processes.js';
import type { JobDefinition } from '../jobs/define-job.js';
import type { Allowance } from '../jobs/guarded-agent.js';
import { until } from '../lifecycle.js';
import type { ActiveRun } from './active-run.js';
import { abortGraceMs } from './execute.js';
import { createHealthchecks } from './healthchecks.js';
import { createJobWorker, type WorkerInput } from './job-worker.js';

export interface PoolInput extends Omit<WorkerInput, 'healthchecks'> {
  readonly jobs: readonly JobDefinition[];
  /** What dead man's switches may be at though it is not public. */
  readonly healthcheckAllow?: Allowance;
}

/** How long putting back what was interrupted may take, in ms, beyond the deadline. */
const putBackMs = 3_000;

/** How long telling dead man's switches of the last runs may take then, in ms. */
const lastPingsMs = 2_000;

/** The worker role: a worker for each job, each with a concurrency of its own. */
export function createPool(input: PoolInput) {
  const workers: ReturnType<typeof createJobWorker>[] = [];
  const healthchecks = createHealthchecks(input.healthcheckAllow ?? [], input.emit);
  return {
    name: 'worker',
    /** What it executes at this moment: how many runs, and the oldest `most` of them. */
    running(most: number): Running {
      const oldest = workers.flatMap(({ runs }) => [...first(runs, most)]);
      return {
        running: workers.reduce((sum, { runs }) => sum + runs.size, 0),
        runs: oldest
          .sort((a, b) => a.startedAtMs - b.startedAtMs)
          .slice(0, most)
          .map(reportOf),
      };
    },
    async start() {
      workers.push(...input.jobs.map((job) => createJobWorker(job, { ...input, healthchecks })));
      await Promise.all(workers.map((worker) => worker.ready()));
    },
    /** No new runs from now on; those that run may finish until the deadline, and are put back then. */
    async stop(deadline: number) {
      const closed = Promise.all(workers.map((worker) => worker.close()));
      await Promise.race([closed, until(deadline)]);
      for (const worker of workers) worker.interrupt();
      await Promise.race([closed, until(Date.now() + abortGraceMs + putBackMs)]);
      await Promise.race([healthchecks.sent(), until(Date.now() + lastPingsMs)]);
    },
  };
}

function* first(runs: Iterable<ActiveRun>, most: number): Generator<ActiveRun> {
  let left = most;
  for (const run of runs) {
    if (left-- <= 0) return;
    yield run;
  }
}

function reportOf({ facts, startedAtMs }: ActiveRun): RunningRun {
  const { job, run, attempt, schedule, tick } = facts;
  return {
    job,
    run: run.slice(0, mostLetters),
    attempt,
    since: startedAtMs,
    ...(schedule !== undefined && { schedule }),
    ...(tick !== undefined && { tick }),
  };
}
