import type { Job, JobsOptions } from 'bullmq';
import type { Outcome } from './outcome.js';

/**
 * Decides whether a run that was taken may start now: one with `expiresIn` not after it. Retries count from the
 * first start, so they are let through.
 *
 * @returns what becomes of it instead, or null where it may start
 */
export function admit(job: Job, now: number): Outcome | null {
  const { delay = 0, expiresIn } = job.opts as JobsOptions & { expiresIn?: number };
  if (expiresIn === undefined || job.attemptsMade > 0) return null;
  const lateMs = now - (job.timestamp + delay);
  return lateMs > expiresIn ? { type: 'skipped', reason: `expired ${lateMs - expiresIn} ms ago` } : null;
}
