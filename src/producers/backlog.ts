import type { Queue } from 'bullmq';
import { RondoError } from '../errors.js';
import type { JobDefinition } from '../jobs/define-job.js';

/**
 * Adds runs where, with them, no more than the job's `maxWaiting` wait. One process never exceeds that; several that
 * add at the same moment may, by what is under way in the others.
 *
 * @param more how many they are, one unless told, and what bounds the call to Redis that counts
 * @throws RondoError `queue-full`
 */
export async function addWithin<Added>(
  queue: Queue,
  job: JobDefinition,
  add: () => Promise<Added>,
  { runs = 1, bounded = (work) => work }: { runs?: number; bounded?: (work: Promise<number>) => Promise<number> } = {},
): Promise<Added> {
  if (job.maxWaiting === null) return add();
  const waiting = await bounded(queue.getJobCountByTypes('wait', 'prioritized'));
  const adding = underWay.get(queue) ?? 0;
  if (waiting + adding + runs > job.maxWaiting) {
    const wanted = runs > 1 ? `, and ${runs} more are to` : '';
    throw new RondoError('queue-full', `${job.name}: ${waiting + adding} of ${job.maxWaiting}${wanted}`);
  }
  underWay.set(queue, adding + runs);
  try {
    return await add();
  } finally {
    underWay.set(queue, (underWay.get(queue) ?? runs) - runs);
  }
}

/**
 * Runs that this process is adding. A connection answers in order, so each of them is in the count that was read or
 * in this one; for an instant it may be in both.
 */
const underWay = new WeakMap<Queue, number>();
