import { type RunOptions, versionOf } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import type { ActiveRun } from './active-run.js';
import { failure, type Outcome } from './outcome.js';

type Taken = Pick<ActiveRun, 'job' | 'definition' | 'tick' | 'startedAtMs'>;

/**
 * Decides whether a run that was taken may start now.
 *
 * @returns what becomes of it instead, or null where it may start
 */
export function admit(run: Taken): Outcome | null {
  return waitForNewer(run) ?? quarantine(run) ?? expire(run);
}

/** During a deploy the payload may be of a version that only the next release knows: it is that one's to judge. */
function waitForNewer({ job, definition }: Taken): Outcome | null {
  const version = versionOf(job);
  if (version <= definition.version) return null;
  const before = Math.max(0, job.attemptsStarted - job.attemptsMade - 1);
  return { type: 'too-new', version, forMs: Math.min(waitsAtMostMs, waitsFirstMs * 2 ** Math.min(before, 10)) };
}

/** Longer each time: where no newer worker comes, old ones are not to be busy with it. */
const waitsFirstMs = 2_000;
const waitsAtMostMs = 60_000;

/**
 * BullMQ counts how often a run was lost with its worker, and would itself fail those of a schedule never, and others
 * without a code of ours.
 */
function quarantine({ job, definition }: Taken): Outcome | null {
  const crashes = job.stalledCounter;
  return crashes < definition.maxCrashes ? null : failure(new RondoError('run-quarantined', `crashes: ${crashes}`));
}

/**
 * One with `expiresIn` is not started after it, a tick of a schedule with `lateAfter` not after that. Retries count
 * from the first start, so they are let through.
 */
function expire({ job, tick, startedAtMs: now }: Taken): Outcome | null {
  if (job.attemptsMade > 0) return null;
  const { delay = 0, expiresIn, lateAfter } = job.opts as RunOptions;
  if (tick && lateAfter !== undefined && now - tick.due > lateAfter) return { type: 'skipped', reason: 'too late' };
  const lateMs = now - (job.timestamp + delay);
  if (expiresIn === undefined || lateMs <= expiresIn) return null;
  return { type: 'skipped', reason: `expired ${lateMs - expiresIn} ms ago` };
}
