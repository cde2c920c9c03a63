import type { Job } from 'bullmq';
import { account } from '../broker/account.js';
import { cancelRun, tellRun } from '../broker/cancel.js';
import { followUp } from '../broker/caught-up.js';
import { readCursor } from '../broker/ledger.js';
import type { Broker } from '../broker/queues.js';
import { tickOf } from '../broker/repeat.js';
import { RondoError } from '../errors.js';
import type { Emit } from '../jobs/events.js';
import { offsetOf } from '../jobs/schedule.js';
import { upsertChain } from './chains.js';
import { type Specification, timingOf } from './plan.js';
import { dueAfter } from './rechain.js';
import { jobAt } from './runs.js';
import { isLeaving } from './settle.js';
import { readStored } from './store.js';
import { accountFor } from './watch.js';

export interface CancelInput {
  /** Who wants it, as people know them. */
  readonly by: string;
  readonly now: () => number;
}

/**
 * Cancels a run. One that waits is removed, and its tick says so; so is the next of a schedule, which goes on with the
 * tick after it. One that executes has its signal aborted within a second, wherever it is.
 *
 * @throws RondoError `run-unknown`, or `run-ended`
 */
export async function cancel(
  broker: Broker,
  job: string,
  id: string,
  { by, now }: CancelInput,
  emit: Emit,
): Promise<'removed' | 'told'> {
  for (;;) {
    const done = await cancelRun(broker, job, id, by);
    if (done === 'unknown') throw new RondoError('run-unknown', `${job} ${id}`);
    if (done === 'ended') throw new RondoError('run-ended', `${job} ${id}`);
    if (done !== 'next') return done;
    const run = await jobAt(broker.queue(job), id);
    if (!run) continue; // it has gone its way meanwhile
    const skipped = await skipTick(broker, run, { by, now }, emit);
    if (skipped === 'skipped') return 'removed';
    if (skipped === 'unaccountable' && (await tellRun(broker, run, by))) return 'told';
  }
}

/** The ledger first: from there on the tick has its word, whatever becomes of its run. */
async function skipTick(
  broker: Broker,
  run: Job,
  { by, now }: CancelInput,
  emit: Emit,
): Promise<'skipped' | 'moved' | 'unaccountable'> {
  const tick = tickOf(run);
  const stored = tick && (await readStored(broker, tick.schedule));
  if (!stored || isLeaving(stored) || stored.unsettled) return 'unaccountable';
  const specification: Specification = { ...stored.specification, timing: timingOf(stored.specification) };
  const { timing, policy } = specification;
  const of = { job: run.queueName, schedule: tick.schedule };
  const due = tick.time + offsetOf(timing);
  const rule = broker.ruleOf(tick.schedule);

  let cursor = await readCursor(broker, of);
  if (cursor && typeof cursor.next === 'number' && cursor.next < tick.time) {
    // What was missed before it keeps its own word.
    await accountFor(broker, { ...of, specification, cursor, now: Math.min(now(), due - 1) }, emit);
    cursor = await readCursor(broker, of);
  }
  if (cursor?.next !== tick.time) return 'unaccountable';
  const found = await account(broker, { ...of, timing, policy, rule, now: now(), cursor, cancelledBy: by });
  if (found.type !== 'accounted') return 'moved';
  await followUp(broker, of, specification, found, emit);
  await upsertChain(broker, tick.schedule, specification, dueAfter(timing, due, rule), due);
  return 'skipped';
}
