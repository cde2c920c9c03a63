import type { Broker } from '../broker/queues.js';
import { readDurations } from './durations.js';
import { isEnabled, ownerOf, type Wanted } from './plan.js';
import { byJob } from './schedules.js';
import { readStore } from './store.js';
import { type Warning, warningsOf } from './warnings.js';

/** What there is to warn of in what an app wants, together with what others have in the same Redis. */
export async function warningsNow(
  broker: Broker,
  { app, wanted, now }: { readonly app: string; readonly wanted: readonly Wanted[]; readonly now: number },
): Promise<Warning[]> {
  const { stored } = await readStore(broker);
  const others = [...stored.values()].filter(({ owner }) => owner !== ownerOf(app));
  const declared = new Set(wanted.map(({ id }) => id));
  const all = [...wanted, ...others.filter(({ id }) => !declared.has(id))].filter(isEnabled);
  const durations = await readDurations(broker, byJob(all));
  const schedules = all.map(({ id, specification }) => {
    const next = broker.ruleOf(id);
    return { id, timing: specification.timing, durations: durations.get(id) ?? [], ...(next && { next }) };
  });
  return warningsOf(schedules, now);
}
