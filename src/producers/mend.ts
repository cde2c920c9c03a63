import { endLock } from '../broker/queue-facts.js';
import type { Broker } from '../broker/queues.js';
import type { Registry } from '../jobs/registry.js';
import { briefly } from '../jobs/words.js';
import { wantedOf } from './plan.js';
import { type Deployment, heal } from './schedules.js';
import type { StoreFacts } from './store-facts.js';

interface MendInput extends Deployment {
  /** Null where the jobs could not be loaded. */
  readonly registry: Registry | null;
  readonly now: () => number;
}

/**
 * What cannot lose anything: heals what a producer would heal, and lets locks end that would not.
 *
 * @returns what was done for findings of a code
 */
export async function mend(
  broker: Broker,
  { registry, app, release, now }: MendInput,
  seen: StoreFacts,
): Promise<ReadonlyMap<string, string>> {
  const done = new Map<string, string>();
  if (seen.schedules.some(({ health }) => health === 'broken')) {
    const wanted = registry ? wantedOf(registry) : [];
    const { healed } = await heal(broker, { app, release, wanted, now }, () => {});
    if (healed.length > 0) done.set('schedule-broken', 'its chain is begun anew, and its ledger accounts for the gap');
  }
  for (const { job, active } of seen.queues) {
    for (const { run, lock } of active) {
      if (lock !== 'endless') continue;
      await endLock(broker, job, run, lockMs);
      done.set('lock-endless', `the locks end in ${briefly(lockMs)}, unless their worker renews them`);
    }
  }
  return done;
}

/** As long as a worker's own lasts. */
const lockMs = 30_000;
