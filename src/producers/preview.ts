import { readTicks } from '../broker/ledger.js';
import type { LedgerOf } from '../broker/ledger-format.js';
import type { Broker } from '../broker/queues.js';
import { isRange } from '../broker/tick-entry.js';
import { RondoError } from '../errors.js';
import type { Cancelled } from '../jobs/preview.js';
import { type PreviewInput, type PreviewView, previewOf } from './preview-view.js';
import { readStored, unknownSchedule } from './store.js';

/**
 * The next times of a schedule that the store holds, whoever made it; of one that is disabled, those that it would have.
 *
 * @throws RondoError `schedule-unknown`, or `schedule-uncomputable` where code computes them that is not here, or fails
 */
export async function previewStored(broker: Broker, id: string, input: PreviewInput): Promise<PreviewView> {
  const stored = await readStored(broker, id);
  if (!stored) throw await unknownSchedule(broker, id);
  const { timing } = stored.specification;
  const rule = broker.ruleOf(id);
  if (timing.kind === 'next' && !rule) throw new RondoError('schedule-uncomputable', `${id}: by code that is not here`);
  const cancelled = await cancelledAfter(broker, { job: stored.specification.job, schedule: id }, input.from);
  try {
    return previewOf(id, timing, rule, input, cancelled);
  } catch (cause) {
    throw new RondoError('schedule-uncomputable', `${id}: ${String(cause)}`, { cause });
  }
}

/** Ticks that were cancelled before they are due have their entry already. */
async function cancelledAfter(broker: Broker, of: LedgerOf, from: number): Promise<Cancelled> {
  const { entries } = await readTicks(broker, of, { from });
  const cancelled = entries.filter((entry) => entry.outcome === 'cancelled');
  return (time) => {
    const found = cancelled.find((entry) => entry.time <= time && time <= (isRange(entry) ? entry.to : entry.time));
    return found ? (found.reason ?? '') : null;
  };
}
