import type { Queue } from 'bullmq';
import { RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';

/**
 * Adds a run where fewer than the job's `maxWaiting` wait. One process never exceeds that; several that add at the same
 * moment may, by what is under way in the others.
 *
 * @throws RondoError `queue-full`
 */
export async function addWithin<Added>(queue: Queue, job: JobDefinition, add: () => Promise<Added>): Promise<Added> {
  if (job.maxWaiting === null) return add();
  const waiting = await queue.getJobCountByTypes('wait', 'prioritized');
  const adding = underWay.get(queue) ?? 0;
  if (waiting + adding >= job.maxWaiting) {
    throw new RondoError('queue-full', `${job.name}: ${waiting + adding} of ${job.maxWaiting}`);
  }
  underWay.set(queue, adding + 1);
  try {
    return await add();
  } finally {
    underWay.set(queue, (underWay.get(queue) ?? 1) - 1);
  }
}

/**
 * Runs that this process is adding. A connection answers in order, so each of them is in the count that was read or
 * in this one; for an instant it may be in both.
 */
const underWay = new WeakMap<Queue, number>();
