import type { Emit } from '../jobs/events.js';
import type { Accounted } from './account.js';
import { markAdded } from './ledger.js';
import type { LedgerOf } from './ledger-format.js';
import type { Broker, RunOptions } from './queues.js';
import { caughtUpId } from './repeat.js';

/** What every run of a schedule gets. */
export interface Template {
  readonly payload: unknown;
  readonly options: RunOptions;
}

/** What the accounting of a schedule's ticks entails: runs for those that are to be caught up, and word of all. */
export async function followUp(
  broker: Broker,
  { job, schedule }: LedgerOf,
  template: Template,
  { toAdd, left }: Extract<Accounted, { type: 'accounted' }>,
  emit: Emit,
): Promise<void> {
  await addCaughtUp(broker, { job, schedule }, template, toAdd);
  for (const { time, to, count, outcome, reason = '' } of left) {
    emit({ type: 'ticks.left', job, schedule, from: time, to, count, outcome, reason });
  }
  if (toAdd.length > 0) emit({ type: 'ticks.caught-up', job, schedule, ticks: toAdd });
}

/**
 * Adds the runs of ticks that BullMQ's own chain has left behind, oldest first. Their claims are open already, so
 * whoever finds one without its run may call this once more: BullMQ adds an id only once.
 */
export async function addCaughtUp(
  broker: Broker,
  of: LedgerOf,
  { payload, options }: Template,
  ticks: readonly number[],
): Promise<void> {
  if (ticks.length === 0) return;
  const ids = ticks.map((tick) => caughtUpId(of.schedule, tick));
  await broker
    .queue(of.job)
    .addBulk(ids.map((jobId) => ({ name: of.job, data: payload, opts: { ...options, jobId } })));
  await markAdded(broker, of, ids);
}
