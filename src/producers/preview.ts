import type { Broker } from '../broker/queues.js';
import { RondoError } from '../errors.js';
import { timingOf } from './plan.js';
import { type PreviewInput, type PreviewView, previewOf } from './preview-view.js';
import { readStored, unknownSchedule } from './store.js';

/**
 * The next times of a schedule that the store holds, whoever made it.
 *
 * @throws RondoError `schedule-unknown`, or `schedule-uncomputable` where code computes them that is not here, or fails
 */
export async function previewStored(broker: Broker, id: string, input: PreviewInput): Promise<PreviewView> {
  const stored = await readStored(broker, id);
  if (!stored) throw await unknownSchedule(broker, id);
  const timing = timingOf(stored.specification);
  const rule = broker.ruleOf(id);
  if (timing.kind === 'next' && !rule) throw new RondoError('schedule-uncomputable', `${id}: by code that is not here`);
  try {
    return previewOf(id, timing, rule, input);
  } catch (cause) {
    throw new RondoError('schedule-uncomputable', `${id}: ${String(cause)}`, { cause });
  }
}
