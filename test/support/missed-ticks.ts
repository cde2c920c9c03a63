import { account } from '../../src/broker/account.js';
import { begin } from '../../src/broker/ledger.js';
import { defineJob } from '../../src/jobs/define-job.js';
import { createRegistry } from '../../src/jobs/registry.js';
import { wantedOf } from '../../src/producers/plan.js';
import { reconcile } from '../../src/producers/schedules.js';
import { fixture } from './harness.js';

export const day = 86_400_000;
export const now = Date.now();
/** The last tick that was due of a schedule of days. Half a day from the next, so that none comes while tests run. */
export const lastTick = Math.floor((now - day / 2) / 1_000) * 1_000;
export const everyDay = { id: 'daily', every: '1d', startsAt: new Date(lastTick - 1_000 * day) } as const;
export const daily = { job: 'work', schedule: 'daily' };

/** A schedule whose ticks of some days, up to the last that was due, were missed; they are one range of its ledger. */
export async function missedTicks(count: number, options: object = {}) {
  const ran: number[] = [];
  const job = defineJob({
    name: 'work',
    schedules: [everyDay],
    run: ({ tick }) => void ran.push(tick?.time.getTime() ?? 0),
    ...options,
  });
  const parts = await fixture([job]);
  const registry = createRegistry([job]);
  const timing = registry.findSchedule('daily')?.schedule.timing as never;
  const missed = Array.from({ length: count }, (_, index) => lastTick - (count - 1 - index) * day);
  const first = missed[0] as number;
  await begin(parts.broker, daily, first - 1, first);
  const policy = { misfire: 'skip', grace: -1, maxCatchUp: 1 } as const;
  await account(parts.broker, { ...daily, timing, policy, rule: undefined, now, cursor: { next: first, pause: null } });
  const wanted = wantedOf(registry);
  await reconcile(parts.broker, { app: 'test', release: '1', wanted, now: () => now }, () => {});
  const specification = wanted[0]?.specification as { payload: unknown; options: object };
  return { ...parts, registry, ran, missed, specification };
}
