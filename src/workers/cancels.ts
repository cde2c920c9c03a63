import { setTimeout } from 'node:timers/promises';
import { readCancels } from '../broker/cancel.js';
import type { Broker } from '../broker/queues.js';
import type { ActiveRun } from './active-run.js';

/** How often a worker looks, in ms, whether somebody wants one of its runs cancelled. */
const lookEveryMs = 500;

/**
 * Looks after the active runs of one job for as long as there are any: whoever cancels one may be anywhere.
 *
 * @param onFound is told of each run that is to end, and who wants it
 */
export function createCancels(
  broker: Broker,
  job: string,
  runs: ReadonlySet<ActiveRun>,
  onFound: (run: ActiveRun, by: string) => void,
) {
  let looking = false;
  let stopped = false;

  async function lookWhileAnyRun(): Promise<void> {
    looking = true;
    while (runs.size > 0 && !stopped) {
      await setTimeout(lookEveryMs, undefined, { ref: false });
      await look();
    }
    looking = false;
  }

  async function look(): Promise<void> {
    const asked = [...runs];
    if (asked.length === 0) return;
    const ids = asked.map(({ facts }) => facts.run);
    // While Redis is away nobody can have said anything.
    const found = await readCancels(broker, job, ids).catch(() => []);
    for (const [index, run] of asked.entries()) {
      const by = found[index];
      if (by) onFound(run, by);
    }
  }

  return {
    /** A run has begun. */
    begun(): void {
      if (!looking) void lookWhileAnyRun();
    },
    stop(): void {
      stopped = true;
    },
  };
}
