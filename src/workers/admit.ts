import type { RunOptions } from '../broker/queues.js';
import type { ActiveRun } from './active-run.js';
import type { Outcome } from './outcome.js';

/**
 * Decides whether a run that was taken may start now: one with `expiresIn` not after it, a tick of a schedule with
 * `lateAfter` not after that. Retries count from the first start, so they are let through.
 *
 * @returns what becomes of it instead, or null where it may start
 */
export function admit({ job, tick, startedAtMs: now }: ActiveRun): Outcome | null {
  if (job.attemptsMade > 0) return null;
  const { delay = 0, expiresIn, lateAfter } = job.opts as RunOptions;
  if (tick && lateAfter !== undefined && now - tick.due > lateAfter) return { type: 'skipped', reason: 'too late' };
  const lateMs = now - (job.timestamp + delay);
  if (expiresIn === undefined || lateMs <= expiresIn) return null;
  return { type: 'skipped', reason: `expired ${lateMs - expiresIn} ms ago` };
}
