import { DelayedError, type Job } from 'bullmq';
import { parkedUntil, wakeParked } from '../broker/lane.js';
import type { Broker } from '../broker/queues.js';
import { tickOf } from '../broker/repeat.js';

/** How many of a worker's slots backfilled runs may have: half, since live ticks come many at once, and want to be quick. */
export function laneOf(concurrency: number): number {
  return Math.max(1, Math.floor(concurrency / 2));
}

/**
 * The lane of backfilled runs in one worker process: so many may execute at once. They wait parked, where BullMQ does not
 * take them, and each that begins or ends lets others go on for as long as there is room. One that comes when there is
 * none goes back to its place, and costs no attempt.
 */
export function createLane(broker: Broker, job: string, limit: number) {
  let inside = 0;
  let waking: Promise<void> | null = null;
  let again = false;

  /** One call at a time: many runs that end together ask once more, together. */
  function wake(): void {
    if (waking) {
      again = true;
      return;
    }
    waking = wakeParked(broker, job, limit - inside)
      // Redis is away: the end of the next run asks again, or the producer at its next look.
      .then(nothing, nothing)
      .finally(() => {
        waking = null;
        if (again) wake();
      });
    again = false;
  }

  return {
    async pass<Result>(run: Job, token: string | undefined, work: () => Promise<Result>): Promise<Result> {
      if (inside >= limit) {
        await run.moveToDelayed(parkedUntil(tickOf(run)?.time ?? 0), token);
        throw new DelayedError();
      }
      inside++;
      wake();
      let isParked = false;
      try {
        return await work();
      } catch (error) {
        isParked = error instanceof DelayedError;
        throw error;
      } finally {
        inside--;
        // Where it waits for its turn the next would do the same.
        if (!isParked) wake();
      }
    },
  };
}

const nothing = () => {};
