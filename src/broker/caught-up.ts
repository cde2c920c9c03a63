import type { JobsOptions } from 'bullmq';
import { type LedgerOf, markAdded } from './ledger.js';
import type { Broker } from './queues.js';
import { caughtUpId } from './repeat.js';

/** What every run of a schedule gets. */
export interface Template {
  readonly payload: unknown;
  readonly options: JobsOptions;
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
  const runs = ticks.map((tick) => ({
    name: of.job,
    data: payload,
    opts: { ...options, jobId: caughtUpId(of.schedule, tick) },
  }));
  await broker.queue(of.job).addBulk(runs);
  const ids = ticks.map((tick) => caughtUpId(of.schedule, tick));
  await markAdded(broker, of, ids);
}
