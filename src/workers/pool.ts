import type { JobDefinition } from '../jobs/define-job.js';
import { until } from '../lifecycle.js';
import { abortGraceMs } from './execute.js';
import { createJobWorker, type WorkerInput } from './job-worker.js';

export interface PoolInput extends WorkerInput {
  readonly jobs: readonly JobDefinition[];
}

/** How long putting back what was interrupted may take, in ms, beyond the deadline. */
const putBackMs = 3_000;

/** The worker role: a worker for each job, each with a concurrency of its own. */
export function createPool(input: PoolInput) {
  const workers: ReturnType<typeof createJobWorker>[] = [];
  return {
    name: 'worker',
    async start() {
      workers.push(...input.jobs.map((job) => createJobWorker(job, input)));
      await Promise.all(workers.map((worker) => worker.ready()));
    },
    /** No new runs from now on; those that run may finish until the deadline, and are put back then. */
    async stop(deadline: number) {
      const closed = Promise.all(workers.map((worker) => worker.close()));
      await Promise.race([closed, until(deadline)]);
      for (const worker of workers) worker.interrupt();
      await Promise.race([closed, until(Date.now() + abortGraceMs + putBackMs)]);
    },
  };
}
